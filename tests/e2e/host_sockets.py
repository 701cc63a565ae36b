"""What an agent reaches by names in its file system. The host asks its own sockets who came.

reach TREE...   knocks at every socket and FIFO in these directories, once a line came on the standard input
own             uses sockets of its own, in every way that programs do
race PATH       changes an address while the kernel reads it
"""
import array, ctypes, errno, os, socket, stat, subprocess, sys, threading

KINDS = {"stream": socket.SOCK_STREAM, "packet": socket.SOCK_SEQPACKET, "datagram": socket.SOCK_DGRAM}


def attempt(action):
    try:
        action()
        return "ok"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    except AssertionError as error:
        return f"failed {error}"


def knock(kind, address):
    with socket.socket(socket.AF_UNIX, KINDS[kind]) as s:
        s.connect(address)
        s.send(b"knock")


def send(address):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(b"knock", address)


def send_from_pair(address):
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    pair[0].sendmsg([b"knock"], [], 0, address)


def feed(path):
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.write(descriptor, b"knock")


def reach(trees):
    print("ready", flush=True)
    sys.stdin.readline()
    for tree in trees:
        os.chdir(tree)
        directory = os.open(tree, os.O_PATH)
        for name in sorted(os.listdir(tree)):
            path = os.path.join(tree, name)
            kind = name.split(".")[-1]
            if kind == "fifo":
                print(name, attempt(lambda: feed(path)), attempt(lambda: feed(name)))
            elif kind in KINDS:
                link = f"/tmp/{name}"
                os.symlink(path, link)
                forms = [path, name, f"./{name}", link, f"/proc/self/fd/{directory}/{name}", f"/proc/self/cwd/{name}", f"/proc/self/root{path}"]
                said = {attempt(lambda: knock(kind, form)) for form in forms}
                for other in KINDS:
                    said.add(attempt(lambda: knock(other, path)))
                said.update(attempt(lambda: way(form)) for way in (send, send_from_pair) for form in forms)
                os.unlink(link)
                print(name, *sorted(said))
        os.close(directory)
    print("done", flush=True)
    sys.stdin.readline()


def talk(kind, path, address=None, hook=lambda: None):
    """A server and a client that hand a descriptor over."""
    server, client = (socket.socket(socket.AF_UNIX, kind) for _ in range(2))
    server.bind(path)
    server.listen(1)
    hook()
    client.connect(address or path)
    accepted, _ = server.accept()
    reader, writer = os.pipe()
    client.sendmsg([b"take"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writer]))])
    _, control, _, _ = accepted.recvmsg(16, 64)
    os.write(array.array("i", control[0][2])[0], b"given")
    assert os.read(reader, 5) == b"given"
    assert client.getpeername() == path
    for s in (server, client, accepted):
        s.close()
    for name in {path, address}:
        if isinstance(name, str) and os.path.lexists(name):
            os.unlink(name)


def tcp():
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    server.accept()[0].sendall(b"x")
    assert client.recv(1) == b"x"
    refused = attempt(lambda: socket.socket().connect(("127.0.0.1", 1)))
    assert refused == "ECONNREFUSED", refused


def waits():
    """A client that does not wait is told so, one that waits is served, and meanwhile others are."""
    full = socket.socket(socket.AF_UNIX)
    full.bind("/tmp/full")
    full.listen(0)
    first = socket.socket(socket.AF_UNIX)
    first.connect("/tmp/full")
    hasty = socket.socket(socket.AF_UNIX)
    hasty.setblocking(False)
    assert attempt(lambda: hasty.connect("/tmp/full")) == "EAGAIN"
    patient = socket.socket(socket.AF_UNIX)
    thread = threading.Thread(target=lambda: patient.connect("/tmp/full"))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    talk(socket.SOCK_STREAM, "/tmp/other")
    full.accept()
    thread.join(20)
    assert not thread.is_alive()


def many():
    """More than are remembered, of which all but a few are gone."""
    for number in range(300):
        talk(socket.SOCK_STREAM, f"/tmp/many-{number}")


def programs():
    """A program that nobody may look into, as it holds keys."""
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", "/workspace/agent.sock"], stdout=subprocess.PIPE)
    agent.stdout.readline()
    said = subprocess.run(["ssh-add", "-l"], env={**os.environ, "SSH_AUTH_SOCK": "/workspace/agent.sock"}, capture_output=True, text=True)
    agent.kill()
    agent.wait()
    os.unlink("/workspace/agent.sock")
    assert "no identities" in said.stdout, (said.stdout, said.stderr)


def own():
    stream, packet = socket.SOCK_STREAM, socket.SOCK_SEQPACKET
    rows = [(f"{directory} {kind.name}", lambda d=directory, k=kind: talk(k, f"{d}/own.sock"))
            for directory in ("/workspace", "/tmp", "/run", os.environ["HOME"]) for kind in (stream, packet)]
    os.chdir("/workspace")
    rows.append(("relative", lambda: talk(stream, "own.sock")))
    at = os.open("/workspace", os.O_PATH)
    rows.append(("by descriptor", lambda: talk(stream, f"/proc/self/fd/{at}/own.sock")))
    rows.append(("by link", lambda: talk(stream, "own.sock", "link.sock", lambda: os.symlink("own.sock", "link.sock"))))
    rows.append(("renamed", lambda: talk(stream, "own.sock", "moved.sock", lambda: os.rename("own.sock", "moved.sock"))))
    rows.append(("abstract", lambda: talk(stream, b"\0own")))
    rows += [("tcp", tcp), ("waits", waits), ("many", many), ("ssh-agent", programs)]
    for what, action in rows:
        print(what, attempt(action))
    print("datagram", attempt(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)))
    print("pair", attempt(socket.socketpair))


def race(target):
    """One thread changes the path in memory, and where a link leads, while another connects."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = "/tmp/" + "x" * (len(target) - 5)
    server = socket.socket(socket.AF_UNIX)
    server.bind(own)
    server.listen(4096)
    addresses = [socket.AF_UNIX.to_bytes(2, sys.byteorder) + path.encode() + b"\0" for path in (own, target)]
    buffer = ctypes.create_string_buffer(addresses[0], len(addresses[0]))
    ended = threading.Event()

    def flip():
        turn = 0
        while not ended.is_set():
            turn ^= 1
            ctypes.memmove(buffer, addresses[turn], len(addresses[0]))
            os.symlink((own, target)[turn], "/tmp/next")
            os.rename("/tmp/next", "/tmp/link")

    os.symlink(own, "/tmp/link")
    thread = threading.Thread(target=flip)
    thread.start()
    counts = {}
    for number in range(600):
        s = socket.socket(socket.AF_UNIX)
        if number % 2:
            said = attempt(lambda: s.connect("/tmp/link"))
        else:
            said = "ok" if libc.connect(s.fileno(), buffer, len(addresses[0])) == 0 else errno.errorcode[ctypes.get_errno()]
        counts[said] = counts.get(said, 0) + 1
        s.close()
        if said == "ok":
            server.accept()[0].close()
    ended.set()
    thread.join()
    print(*sorted(counts))


if sys.argv[1] == "reach":
    reach(sys.argv[2:])
elif sys.argv[1] == "own":
    own()
else:
    race(sys.argv[2])
