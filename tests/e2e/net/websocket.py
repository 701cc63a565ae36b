"""A WebSocket client of the standard library: python3 ws.py HOST PATH MESSAGE... prints the status and each echo."""
import base64, os, socket, ssl, struct, sys
from urllib.parse import urlsplit

host, path, messages = sys.argv[1], sys.argv[2], sys.argv[3:]
proxy = urlsplit(os.environ["HTTPS_PROXY"])
raw = socket.create_connection((proxy.hostname, proxy.port), 30)
raw.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())


def head(stream):
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        byte = stream.recv(1)
        if not byte:
            sys.exit(f"the connection ended within its head: {data!r}")
        data += byte
    return data.split()[1].decode()


if head(raw) != "200":
    sys.exit("no tunnel")
tls = ssl.create_default_context().wrap_socket(raw, server_hostname=host)
key = base64.b64encode(os.urandom(16)).decode()
tls.sendall(
    f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
)
print(head(tls), flush=True)


def exactly(n):
    data = b""
    while len(data) < n:
        more = tls.recv(n - len(data))
        if not more:
            sys.exit("the connection ended within a frame")
        data += more
    return data


for message in messages:
    text, mask = message.encode(), os.urandom(4)
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(text))
    tls.sendall(struct.pack("!BB", 0x81, 0x80 | len(text)) + mask + masked)
    opcode, length = exactly(2)
    if opcode != 0x81:
        sys.exit(f"frame {opcode:#x}: {exactly(length & 127)!r}")
    print(exactly(length).decode(), flush=True)
