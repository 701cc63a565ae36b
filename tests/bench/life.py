"""How long a bottle takes to come and go, alone and with many others: P1, P2, P10."""
import os, shutil, subprocess, time

from contest import alternate, fail, once


def measure(table, world):
    bottle = world.bottle
    life = {"bottle": lambda: once([bottle, "start", "--yes", "bench", "--", "/bin/true"], world.env, world.work)}
    if shutil.which("bwrap"):
        life["bwrap"] = lambda: once(["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"])
    else:
        table.lacks("bwrap")
    life = alternate(life)
    if "bwrap" in life:
        pieces = " and ".join(world.pieces)
        table.row("P1", f"whole life of a bottle with {pieces}", f"{life['bottle']:.1f} ms", f"bwrap {life['bwrap']:.1f} ms",
                  life["bottle"] / life["bwrap"], "<=", 8)
    start = alternate({"bottle": lambda: once([bottle, "--version"]), "true": lambda: once(["/bin/true"])})
    table.row("P2", "start of `bottle` itself", f"{start['bottle']:.2f} ms", f"fork+exec {start['true']:.2f} ms", start["bottle"] / start["true"], "<=", 2)


def many(table, world, counts=(1, 10, 50)):
    """All start at once, all are ready at once, all end at once; the cost of each is the time of all by their number."""
    costs = {}
    for count in counts:
        begin = time.perf_counter()
        command = [world.bottle, "start", "--yes", "bench", "--", "/bin/sh", "-c", "echo ready; read line"]
        runs = [subprocess.Popen(command, env=world.env, cwd=world.work, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                for _ in range(count)]
        for run in runs:
            if run.stdout.readline() != b"ready\n":
                fail(f"one of {count} bottles did not start", run.stderr.read().decode(errors="replace").strip())
        for run in runs:
            run.stdin.close()
        for run in runs:
            if run.wait() != 1:
                fail(f"one of {count} bottles did not end", run.stderr.read().decode(errors="replace").strip())
        costs[count] = (time.perf_counter() - begin) * 1000 / count
    most = max(counts)
    table.row("P10", f"each of {most} bottles at once", f"{costs[most]:.1f} ms", f"the only one {costs[1]:.1f} ms", costs[most] / costs[1], "<=", 1.5)
