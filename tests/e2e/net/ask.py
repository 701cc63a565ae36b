"""Asks the proxy in the bytes that are given, so that no client tidies them: one question a line, FORM HOST [NAME [PATH]].

connect     CONNECT HOST; on 443 a refusal stands inside TLS, so GET / with Host: HOST follows there
absolute    GET http://HOST/
tls         CONNECT HOST, TLS for NAME, then GET PATH with Host: NAME
host        CONNECT HOST, TLS for HOST, then GET / with Host: NAME
raw         CONNECT HOST, then bytes that are no TLS
Prints the question, the status and the reason of the last answer, or how the connection ended.
"""
import os, re, socket, ssl, sys
from urllib.parse import urlsplit

proxy = urlsplit(os.environ["HTTPS_PROXY"])


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


def ask(form, host, name="", path="/"):
    raw = socket.create_connection((proxy.hostname, proxy.port), 20)
    if form == "absolute":
        raw.sendall(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return answer(raw)
    port = "" if re.search(r":\d+$", host) and not host.endswith("]") else ":443"
    raw.sendall(f"CONNECT {host}{port} HTTP/1.1\r\nHost: {host}{port}\r\n\r\n".encode())
    said = answer(raw)
    if said != "200" or (form == "connect" and port != ":443"):
        return said
    if form == "raw":
        raw.sendall(b"SSH-2.0-OpenSSH_9.0\r\n")
        return answer(raw)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        tls = context.wrap_socket(raw, server_hostname=name if form == "tls" else host.strip("[]"))
        name = name or host
        tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
        return answer(tls)
    except (OSError, ssl.SSLError) as error:
        return type(error).__name__


for line in sys.stdin.read().splitlines():
    print(line, "->", ask(*line.split(" ")))
