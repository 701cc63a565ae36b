"""How long a bottle takes to start and stop, alone and with many others: P1, P2, P10."""
import glob, json, os, shutil, statistics, subprocess, time

from contest import ROUNDS, alternate, fail, once


def measure(table, world):
    bottle = world.bottle
    life = {
        "bottle": lambda: once([bottle, "start", "--yes", "bench", "--", "/bin/true"], world.env, world.work),
        "with git-gate": lambda: once([bottle, "start", "--yes", "gated", "--", "/bin/true"], world.env, world.work),
    }
    if shutil.which("bwrap"):
        life["bwrap"] = lambda: once(["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"])
    else:
        table.lacks("bwrap")
    life = alternate(life)
    if "bwrap" in life:
        components = " and ".join(world.components)
        table.row("P1", f"whole life of a bottle with {components}", f"{life['bottle']:.1f} ms", f"bwrap {life['bwrap']:.1f} ms",
                  life["bottle"] / life["bwrap"], "<=", 6)
    table.row("P1", "the same with git-gate", f"{life['with git-gate']:.1f} ms", f"without {life['bottle']:.1f} ms",
              life["with git-gate"] / life["bottle"], "<=", 1.1)
    start = alternate({"bottle": lambda: once([bottle, "--version"]), "true": lambda: once(["/bin/true"])})
    table.row("P2", "start of `bottle` itself", f"{start['bottle']:.2f} ms", f"fork+exec {start['true']:.2f} ms", start["bottle"] / start["true"], "<=", 1.5)


# Where the life of a bottle goes, by the records of its timeline: each phase ends with the first record that fits.
PHASES = [
    ("manifest, plan and preflight", lambda record: record["event"] == "start"),
    ("files, namespaces, the first sidecar serves", lambda record: record["event"] == "ready"),
    ("the agent's root is built, every sidecar serves", lambda record: record["event"] == "started"),
    ("the agent runs and ends, the sidecars are told", lambda record: record["event"] == "stopping"),
    ("every process is gone", lambda record: record["event"] == "ended"),
    ("control groups, keys and sockets are gone", lambda record: record["event"] == "end"),
]


def profile(world):
    """Milliseconds of each phase, the median of some runs, printed below the table."""
    runs = []
    for _ in range(ROUNDS):
        begin = time.clock_gettime(time.CLOCK_MONOTONIC)
        once([world.bottle, "start", "--yes", "--name", "profile", "bench", "--", "/bin/true"], world.env, world.work)
        finish = time.clock_gettime(time.CLOCK_MONOTONIC)
        [timeline] = glob.glob(f"{world.home}/state/profile/timeline.jsonl")
        with open(timeline) as file:
            records = iter([json.loads(line) for line in file])
        moments = [begin] + [next(filter(fits, records))["mono_us"] / 1e6 for _, fits in PHASES] + [finish]
        runs.append([(after - before) * 1000 for before, after in zip(moments, moments[1:])])
        once([world.bottle, "cleanup", "--all"], world.env, world.work)
    names = [name for name, _ in PHASES] + ["what changed in the workspace is summed up"]
    print("where the life of a bottle goes, in milliseconds:")
    for name, times in zip(names, zip(*runs)):
        print(f"    {statistics.median(times):7.1f}  {name}")


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
