"""The scanner alone, against a regex engine that is given the same rules one after the other: P7."""
import json, os, subprocess

from contest import fail

BENIGN = ("json", "source", "minified js")
WORST = ("base64 images",)


def measure(table, root):
    """Builds the scanner by itself, as no other row needs it, and lets it alternate with its rival in one process."""
    cargo = [os.environ.get("CARGO", "cargo"), "run", "--release", "--locked", "--quiet", "-p", "bottle-scan", "--example", "throughput"]
    done = subprocess.run([*cargo, "--", "--json", *BENIGN, *WORST], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        fail("the scanner could not be measured", done.stderr.strip()[-2000:], f"run it by hand: {' '.join(cargo)}")
    kinds = {found["kind"]: found for found in map(json.loads, done.stdout.splitlines())}
    for names, reach in ((BENIGN, 400), (WORST, 150)):
        for name in names:
            own, rival = kinds[name]["scanner"], kinds[name]["regex"]
            table.row("P7", f"scanner alone, {name}", f"{own:.0f} MB/s", f"{kinds[name]['rules']} rules by regex {rival:.0f} MB/s", own, ">=", reach)
