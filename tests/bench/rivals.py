"""Other interception proxies, as far as they are installed: each with an authority of its own and the far end's as trust."""
import os, shutil, socket, subprocess, time

from contest import fail

HOST = "bench.test"


class Rival:
    def __init__(self, name, command, port, ca, log):
        self.name, self.address, self.ca = name, f"127.0.0.1:{port}", ca
        self.log = open(log, "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    with open(log) as file:
                        fail(f"{name} did not start", file.read()[-2000:])
                time.sleep(0.05)

    @property
    def pid(self):
        return self.process.pid

    def end(self):
        self.process.terminate()
        self.process.wait(10)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def mitmdump(directory, origin):
    """The addon sends every connection to the far end: names of the bench are in no resolver."""
    home = os.path.join(directory, "mitmproxy")
    os.makedirs(home)
    host, port = origin["https"].rsplit(":", 1)
    addon = os.path.join(home, "far_end.py")
    with open(addon, "w") as file:
        file.write(f"def server_connect(data):\n    data.server.address = ({host!r}, {port})\n")
    listen = free_port()
    command = ["mitmdump", "-q", "--listen-host", "127.0.0.1", "-p", str(listen), "-s", addon, "--set", f"confdir={home}",
               "--set", f"ssl_verify_upstream_trusted_ca={origin['ca']}", "--set", "flow_detail=0"]
    return Rival("mitmdump", command, listen, os.path.join(home, "mitmproxy-ca-cert.pem"), os.path.join(home, "log"))


CERTGEN = "/usr/lib/squid/security_file_certgen"


def squid(directory, origin):
    home = os.path.join(directory, "squid")
    os.makedirs(home)
    key, cert = os.path.join(home, "key.pem"), os.path.join(home, "ca.pem")
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=squid bench",
                    "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", key, "-out", cert], **quiet)
    subprocess.run([CERTGEN, "-c", "-s", os.path.join(home, "leaves"), "-M", "4MB"], **quiet)
    hosts, config = os.path.join(home, "hosts"), os.path.join(home, "squid.conf")
    address, _ = origin["https"].rsplit(":", 1)
    with open(hosts, "w") as file:
        file.write(f"{address} {HOST}\n")
    listen = free_port()
    with open(config, "w") as file:
        file.write(f"""http_port 127.0.0.1:{listen} ssl-bump tls-cert={cert} tls-key={key} generate-host-certificates=on dynamic_cert_mem_cache_size=4MB
sslcrtd_program {CERTGEN} -s {home}/leaves -M 4MB
acl step1 at_step SslBump1
ssl_bump peek step1
ssl_bump bump all
tls_outgoing_options cafile={origin['ca']}
http_access allow all
cache deny all
hosts_file {hosts}
access_log none
cache_log {home}/cache.log
pid_filename none
coredump_dir {home}
shutdown_lifetime 1 seconds
netdb_filename none
""")
    if os.geteuid() == 0:
        # It becomes another user, who must read what is here.
        subprocess.run(["chown", "-R", "proxy:proxy", home], check=True)
        for parent in (directory, os.path.dirname(origin["ca"])):
            os.chmod(parent, 0o755)
    return Rival("squid", ["squid", "-N", "-f", config], listen, cert, os.path.join(home, "log"))


def hops(directory, origin, programs):
    """No rival, but the floor: two processes that intercept and pass on, with the libraries of bottle's own proxies, and do nothing else."""
    home = os.path.join(directory, "hops")
    os.makedirs(home)
    listen = free_port()
    command = [os.path.join(programs, "bottle-hops"), "--port", str(listen), "--dir", home, "--name", HOST, "--address", origin["https"], "--ca", origin["ca"]]
    return Rival("two bare hops", command, listen, os.path.join(home, "ca.pem"), os.path.join(home, "log"))


PACKAGES = {"bwrap": "bubblewrap", "mitmdump": "mitmproxy", CERTGEN: "squid-openssl"}


def install():
    """As root on Debian, what is missing; elsewhere rows without a rival say so."""
    missing = [package for program, package in PACKAGES.items() if not shutil.which(program)]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {', '.join(missing)}", flush=True)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": dict(os.environ, DEBIAN_FRONTEND="noninteractive")}
        subprocess.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing], **quiet)


def start(directory, origin, programs, table):
    """The floor, and all rivals that are installed."""
    rivals = [hops(directory, origin, programs)]
    for name, needs, make in (("mitmdump", "mitmdump", mitmdump), ("squid with ssl-bump", CERTGEN, squid)):
        if shutil.which(needs):
            rivals.append(make(directory, origin))
        else:
            table.lacks(name)
    return rivals
