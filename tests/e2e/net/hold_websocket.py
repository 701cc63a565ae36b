"""Opens a WebSocket and waits for its end: python3 hold.py HOST prints the status, and `ended` when the stream does."""
import base64, os, socket, ssl, sys
from urllib.parse import urlsplit

host = sys.argv[1]
proxy = urlsplit(os.environ["HTTPS_PROXY"])
raw = socket.create_connection((proxy.hostname, proxy.port), 30)
raw.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())


def head(stream):
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        data += stream.recv(1) or sys.exit(f"the connection ended within its head: {data!r}")
    return data.split()[1].decode()


if head(raw) != "200":
    sys.exit("no tunnel")
tls = ssl.create_default_context().wrap_socket(raw, server_hostname=host)
key = base64.b64encode(os.urandom(16)).decode()
tls.sendall(
    f"GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
)
print(head(tls), flush=True)
tls.settimeout(60)
try:
    while tls.recv(100):
        pass
except TimeoutError:
    sys.exit("it goes on")
except OSError:
    pass
print("ended", flush=True)
