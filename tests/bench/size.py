"""What is downloaded: all programs with their manual pages, compressed as distributions do it: P11."""
import os, shutil, subprocess, tempfile

NAMES = ("bottle", "bottle-egress", "bottle-pipelock", "bottle-git-gate", "bottle-supervise", "bottle-demo-origin")


def measure(table, world):
    programs = [path for path in (os.path.join(world.programs, name) for name in NAMES) if os.path.exists(path)]
    for path in programs:
        table.remark(f"P11: {os.path.basename(path)} {os.path.getsize(path) / 1e6:.1f} MB")
    if not shutil.which("zstd"):
        return table.lacks("zstd")
    with tempfile.TemporaryDirectory(prefix="bottle-bench-size.") as directory:
        subprocess.run([world.bottle, "man", directory], check=True)
        archive = subprocess.Popen(["tar", "-c", *programs, directory], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        packed = subprocess.run(["zstd", "-19", "-q", "-c"], stdin=archive.stdout, stdout=subprocess.PIPE, check=True).stdout
        archive.wait()
    size = len(packed) / 1e6
    table.row("P11", f"download of {len(programs)} programs and the manual, zstd -19", f"{size:.1f} MB", "", size, "<=", 20)
