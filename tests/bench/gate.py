"""A push through the git gate, against the same push straight to the same server: P12, and the gate's idle memory."""
import json, os, shutil, subprocess, tempfile, time

from contest import ROUNDS, alternate, fail

OBJECTS, BYTES = 10_000, 200_000_000
# Seconds for one push. Now and then git's libcurl asks for more of a body that has ended, and both wait for ever: such a push
# is ended and done anew, on either side.
PUSH_TIMEOUT = 90
TIMED_OUT = 124
# Inside the bottle: pushes a fresh branch for each line that comes, and says how long it took, and how long the gate was silent once
# git had something to send: before that it searches for deltas, and sends nothing.
DRIVER = f"""import json, subprocess, sys, time
print("ready", flush=True)
for line in sys.stdin:
    start, sends, first, said = time.perf_counter(), None, None, b""
    push = subprocess.Popen(["timeout", "{PUSH_TIMEOUT}", "git", "push", "--progress", "http://git-gate:9420/app.git", line.strip()], stderr=subprocess.PIPE)
    while chunk := push.stderr.read1():
        said, now = said + chunk, time.perf_counter()
        sends = sends or (now if b"Writing objects" in said else None)
        first = first or (now if b"remote: git-gate" in said else None)
    done = dict(code=push.wait(), took=time.perf_counter() - start, silent=first - sends if first and sends else None, said=said.decode(errors="replace")[-500:])
    print(json.dumps(done), flush=True)
"""


def git(directory, *arguments, **more):
    """What git says; None of a push that stood still."""
    env = dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1", **more)
    done = subprocess.run(["timeout", str(PUSH_TIMEOUT), "git", "-C", directory, "-c", "user.name=bench", "-c", "user.email=b@b", *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode == TIMED_OUT and "push" in arguments:
        return None
    if done.returncode:
        fail(f"git {arguments[0]} failed", done.stderr.decode(errors="replace").strip())
    return done.stdout.decode().strip()


def retried(push):
    """How long a push took, in milliseconds."""
    for _ in range(3):
        took = push()
        if took is not None:
            return took
    fail("a push stood still", f"three times for {PUSH_TIMEOUT} s")


def history(directory):
    """A commit of so many files of so many bytes together, which do not compress."""
    git(directory, "init", "-q", "-b", "work")
    each = BYTES // OBJECTS
    for number in range(OBJECTS):
        path = os.path.join(directory, f"d{number % 100}")
        os.makedirs(path, exist_ok=True)
        with open(os.path.join(path, f"{number}.bin"), "wb") as file:
            file.write(os.urandom(each))
    git(directory, "add", "-A")
    git(directory, "commit", "-q", "-m", "much")


def measure(table, world, pss):
    with tempfile.TemporaryDirectory(prefix="bottle-bench-gate.") as home:
        served = os.path.join(home, "served")
        os.makedirs(f"{served}/writable")
        for name in ("app.git", "direct.git"):
            subprocess.run(["git", "init", "-q", "--bare", f"{served}/writable/{name}"], check=True)
        far_end = subprocess.Popen([os.path.join(world.programs, "bottle-origin"), "--dir", f"{home}/origin", "--bench", "--serve", f"git.test={served}"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        origin = json.loads(far_end.stdout.readline())
        work = os.path.join(home, "work")
        os.makedirs(work)
        history(work)
        with open(f"{world.home}/config/bottles/gate.md", "w") as file:
            file.write(f"---\negress:\n  trust: [{json.dumps(origin['ca'])}]\n  routes: []\ngit:\n  repos:\n    - name: app\n"
                       f"      upstream: https://git.test/writable/app.git\n      connect: \"{origin['https']}\"\n"
                       f"      push: {{ allow: [refs/heads/agent/*], delete: true, force: true, other_committers: true }}\n---\n")
        with open(f"{world.home}/config/agents/gate.md", "w") as file:
            file.write("---\nbottle: gate\nprovider: shell\n---\n")
        with open(os.path.join(work, "driver.py"), "w") as file:
            file.write(DRIVER)
        command = [world.bottle, "start", "--yes", "gate", "--", "/usr/bin/python3", "driver.py"]
        run = subprocess.Popen(command, env=world.env, cwd=work, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if run.stdout.readline() != "ready\n":
            fail("the bottle of the bench did not start", run.stderr.read().strip())
        gate = next(int(entry) for entry in filter(str.isdigit, os.listdir("/proc")) if named(entry) == "bottle-git-gate" and parent(entry) == run.pid)
        idle = pss(gate) / 1000
        table.row("P9", "memory of the git gate, idle", f"{idle:.1f} MB", "", idle, "<=", 8)
        firsts = []

        def empty(name):
            repository = f"{served}/writable/{name}"
            shutil.rmtree(repository)
            subprocess.run(["git", "init", "-q", "--bare", repository], check=True)

        def through():
            empty("app.git")
            run.stdin.write("work:refs/heads/agent/x\n")
            run.stdin.flush()
            answer = json.loads(run.stdout.readline())
            if answer["code"] == TIMED_OUT:
                return None
            if answer["code"] or answer["silent"] is None:
                fail("the push through the gate failed, or the gate said nothing", answer["said"])
            firsts.append(answer["silent"])
            return answer["took"] * 1000

        def direct():
            empty("direct.git")
            port = origin["https"].rsplit(":", 1)[1]
            start = time.perf_counter()
            # The variable, as one of the operator's own would count more than a setting.
            pushed = git(work, "-c", f"http.curloptResolve=git.test:{port}:127.0.0.1", "push", f"https://git.test:{port}/writable/direct.git",
                         "work:refs/heads/agent/x", GIT_SSL_CAINFO=origin["ca"])
            return None if pushed is None else (time.perf_counter() - start) * 1000

        times = alternate({"gate": lambda: retried(through), "direct": lambda: retried(direct)}, rounds=max(3, min(5, ROUNDS)))
        ratio = times["gate"] / times["direct"]
        table.row("P12", f"push of {OBJECTS} objects, {BYTES / 1e6:.0f} MB, through the git gate", f"{times['gate'] / 1000:.2f} s",
                  f"direct {times['direct'] / 1000:.2f} s", ratio, "<=", 1.5)
        slowest = max(firsts)
        table.row("P12", "first word of the gate", f"{slowest * 1000:.0f} ms", "", slowest, "<=", 1)
        run.stdin.close()
        if run.wait() != 0:
            fail("the bottle of the bench did not end well", run.stderr.read().strip())
        far_end.stdin.close()
        far_end.wait(10)


def named(entry):
    try:
        with open(f"/proc/{entry}/cmdline") as file:
            return file.read().split("\0")[0]
    except OSError:
        return ""


def parent(entry):
    try:
        with open(f"/proc/{entry}/stat") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except (OSError, ValueError, IndexError):
        return 0
