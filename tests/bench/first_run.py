"""The first run from nothing: a fresh clone, `make run` to the end of the demonstration: P0."""
import os, resource, subprocess, tempfile

from contest import fail


def measure(table):
    """Processor seconds of all that `make run` starts. Crates that are downloaded already are not downloaded again."""
    root = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
    with tempfile.TemporaryDirectory(prefix="bottle-bench-first.", dir="/var/tmp") as directory:
        clone = os.path.join(directory, "bottle")
        subprocess.run(["git", "clone", "-q", root, clone], check=True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(["make", "run"], cwd=clone, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        fail("`make run` failed in a fresh clone", done.stdout.decode(errors="replace")[-2000:])
    seconds = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    table.row("P0", "processor time of `make run` in a fresh clone", f"{seconds:.0f} s", "", seconds, "<=", 240)
