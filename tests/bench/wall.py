"""The way of a request through the wall, against other interception proxies: P3 to P6, P8, P9."""
import json, os, shlex, subprocess

from contest import ROUNDS, SECONDS, alternate, fail

HOST = "bench.test"
# Inside the bottle: runs bottle-load with each line of arguments that comes.
DRIVER = """import shlex, socket, ssl, subprocess, sys
print("ready", flush=True)
context = ssl.create_default_context(cafile="/etc/ssl/certs/ca-certificates.crt")
tunnels = []

def tunnel(host):
    connection = socket.create_connection(("127.0.0.1", 9099))
    connection.sendall(f"CONNECT {host}:443 HTTP/1.1\\r\\nHost: {host}:443\\r\\n\\r\\n".encode())
    assert b" 200" in connection.recv(4096)
    tunnels.append(context.wrap_socket(connection, server_hostname=host))

for line in sys.stdin:
    if line.startswith("tunnels "):
        _, host, count = line.split()
        for _ in range(int(count)):
            tunnel(host)
        print(len(tunnels), flush=True)
        if count == "0":
            tunnels.clear()
        continue
    done = subprocess.run(["/workspace/bottle-load", *shlex.split(line)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    print(done.stdout.strip() or repr(done.stderr), flush=True)
"""
# As large and shaped as a turn of a conversation with a model provider.
CONVERSATION = 100_000
LARGE = 512 << 20


class Inside:
    """`bottle-load` in a bottle, which asks as its agent does."""

    def __init__(self, world):
        with open(os.path.join(world.work, "driver.py"), "w") as file:
            file.write(DRIVER)
        command = [world.bottle, "start", "--yes", "bench", "--", "/usr/bin/python3", "driver.py"]
        self.run = subprocess.Popen(command, env=world.env, cwd=world.work, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.run.stdout.readline() != "ready\n":
            fail("the bottle of the bench did not start", self.run.stderr.read().strip())

    def load(self, *arguments):
        proxied = ["--proxy", "127.0.0.1:9099", "--ca", "/etc/ssl/certs/ca-certificates.crt", *arguments]
        return result(self.ask(shlex.join(proxied)), "through bottle")

    def idle_tunnels(self, count=500):
        """Kilobytes that each of so many intercepted connections without a request costs the sidecars."""
        pids = [pid for name, pid in self.sidecars().items() if name != "init"]
        before = sum(map(pss, pids))
        self.ask(f"tunnels {HOST} {count}")
        after = sum(map(pss, pids))
        self.ask(f"tunnels {HOST} 0")
        return (after - before) / count

    def ask(self, line):
        self.run.stdin.write(line + "\n")
        self.run.stdin.flush()
        return self.run.stdout.readline()

    def sidecars(self):
        """Their process ids, by name."""
        found = {}
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{entry}/stat") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
                with open(f"/proc/{entry}/cmdline") as file:
                    name = file.read().split("\0")[0]
            except (OSError, ValueError, IndexError):
                continue
            if parent == self.run.pid and name.startswith("bottle-"):
                found[name.removeprefix("bottle-")] = int(entry)
        return found

    def end(self):
        self.run.stdin.close()
        if self.run.wait() != 0:
            fail("the bottle of the bench did not end well", self.run.stderr.read().strip())


def result(text, who):
    try:
        answer = json.loads(text)
    except ValueError:
        fail(f"bottle-load failed {who}", text.strip())
    if answer["errors"] or not answer["requests"]:
        fail(f"requests failed {who}", json.dumps(answer["error_kinds"]))
    return answer


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()


def pss(pid, field="Pss:"):
    """Kilobytes of memory, with what is shared divided among its users (proc_pid_smaps(5)); of all children too."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        own = sum(int(line.split()[1]) for line in file if line.startswith(field))
    return own + sum(pss(child, field) for child in children(pid))


def peak(pid):
    """Kilobytes at the highest since the last reset."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def measure(table, world, rivals):
    body = os.path.join(world.work, "conversation.json")
    turn = {"role": "user", "content": "Rename the field `colour` of struct Paint to `color`, and run the tests again afterwards. "}
    with open(body, "w") as file:
        json.dump({"model": "m", "messages": [turn] * (CONVERSATION // len(json.dumps(turn)))}, file)
    inside = Inside(world)
    address = world.origin["https"]
    port = address.rsplit(":", 1)[1]
    near, far = f"https://{HOST}", f"https://{HOST}:{port}"

    def direct(*arguments, path):
        done = subprocess.run([world.load, "--connect", address, "--ca", world.origin["ca"], *arguments, far + path], stdout=subprocess.PIPE, text=True)
        return result(done.stdout, "directly")

    def through(rival):
        def ask(*arguments, path):
            done = subprocess.run([world.load, "--proxy", rival.address, "--ca", rival.ca, *arguments, far + path], stdout=subprocess.PIPE, text=True)
            return result(done.stdout, f"through {rival.name}")
        return ask

    def bottle(*arguments, path):
        local = ["/workspace/conversation.json" if argument == body else argument for argument in arguments]
        return inside.load(*local, near + path)

    contestants = {"bottle": bottle, "direct": direct, **{rival.name: through(rival) for rival in rivals}}

    def contest(*arguments, path="/1k", among=contestants, rounds=ROUNDS):
        return alternate({name: lambda ask=among[name]: ask(*arguments, path=path) for name in among}, rounds)

    idle = {name: pss(pid) for name, pid in inside.sidecars().items()}
    # The agent is what the first process of its namespace has started.
    whole = pss(inside.run.pid) - sum(map(pss, children(inside.sidecars()["init"])))
    largest = max(kilobytes for name, kilobytes in idle.items() if name != "init") / 1000
    shown = ", ".join(f"{name} {pss(rival_pid) / 1000:.0f} MB" for name, rival_pid in ((rival.name, rival.pid) for rival in rivals))
    table.row("P9", "memory of the larger proxy, idle", f"{largest:.1f} MB", shown or "none", largest, "<=", 8)
    table.row("P9", "memory of the whole idle bottle, its agent apart", f"{whole / 1000:.1f} MB", "", whole / 1000, "<=", 35)
    tunnels = inside.idle_tunnels()
    table.row("P9", "an idle tunnel", f"{tunnels:.1f} kB", "", tunnels, "<=", 30)

    # A measurement of seconds is a mean of thousands of requests; few rounds are enough.
    few = max(3, min(5, ROUNDS))
    kept = contest("--connections", "32", "--seconds", str(SECONDS), rounds=few)
    if kept["direct"]["debug"]:
        table.remark("bottle-load and the origin are debug builds, slower than those of a release: what is compared with `direct` looks better than it is")
    per_second(table, "P3", "intercepted requests, kept alive, 32 connections", kept, {"two bare hops": 0.5, "squid with ssl-bump": 1.25})
    fresh = contest("--connections", "8", "--seconds", str(SECONDS), "--fresh", rounds=few)
    per_second(table, "P4", "new intercepted connections", fresh, {"direct": 0.6})
    one = contest("--connections", "1", "--seconds", str(SECONDS), rounds=few)
    added(table, "P5", "added latency of one connection, p50", one, "p50_us", 0.6)
    added(table, "P5", "added latency of one connection, p99", one, "p99_us", 2.5)
    posted = contest("--connections", "1", "--seconds", str(SECONDS), "--method", "POST", "--body", body, path="/sink", rounds=few)
    added(table, "P6", "added to a scanned POST of 100 KB JSON, p50", posted, "p50_us", 2)

    pids = [pid for name, pid in inside.sidecars().items() if name != "init"]
    for pid in pids:
        with open(f"/proc/{pid}/clear_refs", "w") as file:
            file.write("5")  # resets the peak (proc_pid_clear_refs(5))
    whole_body = ("--connections", "1", "--requests", "1", "--seconds", "60")
    among = {name: contestants[name] for name in ("bottle", "direct")}
    down = contest(*whole_body, path=f"/bytes/{LARGE}", among=among, rounds=2)
    up = contest(*whole_body, "--method", "POST", "--body-bytes", str(LARGE), path="/sink", among=among, rounds=2)
    highest = max(peak(pid) for pid in pids) / 1000
    for what, times in (("512 MiB down", down), ("512 MiB up, scanned", up)):
        speed, direct_speed = (times[name]["megabytes_per_second"] for name in ("bottle", "direct"))
        table.row("P8", what, f"{speed:.0f} MB/s", f"direct {direct_speed:.0f} MB/s", speed / direct_speed, ">=", 0.2)
    table.row("P8", "highest memory of a proxy meanwhile", f"{highest:.1f} MB", "", highest, "<=", 32)
    inside.end()


SQUID = "squid with ssl-bump"


def per_second(table, key, what, times, reaches):
    own = times["bottle"]["per_second"]
    for rival, reach in reaches.items():
        if rival in times:
            other = times[rival]["per_second"]
            table.row(key, what, f"{own:.0f}/s", f"{rival} {other:.0f}/s", own / other, ">=", reach)
    rest = ", ".join(f"{name} {value['per_second']:.0f}/s" for name, value in times.items() if name != "bottle" and name not in reaches)
    if rest:
        table.remark(f"{key}: {rest}")


def added(table, key, what, times, field, reach):
    """What a proxy adds to the time of a direct request, against what squid adds, which scans nothing."""
    direct = times["direct"][field]
    adds = {name: (value[field] - direct) / 1000 for name, value in times.items() if name != "direct"}
    rest = ", ".join(f"{name} {value:+.2f} ms" for name, value in adds.items() if name not in ("bottle", SQUID))
    table.remark(f"{key}: {what}: direct {direct / 1000:.2f} ms; added by {rest}")
    if SQUID in adds:
        table.row(key, what, f"{adds['bottle']:+.3f} ms", f"squid {adds[SQUID]:+.3f} ms", adds["bottle"] / adds[SQUID], "<=", reach)
