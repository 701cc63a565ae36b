//! Where a bottle on an engine leads: to its sidecars, and nowhere else. Asked from inside and of listeners that must stay alone.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use bottle_test_support::bottle::Bottle;
use bottle_test_support::engine::{Engine, HOST, WORLD, engines};
use serde_json::Value;

use crate::life::support::program;
use crate::net::world::{NAME, World, is_gone, under};

/// Somebody who owns nothing.
const ORDINARY: u32 = 54_321;

/// Listens on every address of a network namespace, TCP and UDP, and writes down who came.
const CANARY: &str = r#"
import selectors, socket, sys
ports, out = [int(p) for p in sys.argv[2:]], open(sys.argv[1], "a", buffering=1)
select = selectors.DefaultSelector()
for port in ports:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        s = socket.socket(socket.AF_INET6, kind)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("::", port))
        if kind == socket.SOCK_STREAM:
            s.listen()
        select.register(s, selectors.EVENT_READ, (kind, port))
select.register(sys.stdin, selectors.EVENT_READ, None)
print("ready", flush=True)
while True:
    for key, _ in select.select():
        if key.data is None:
            sys.exit()
        kind, port = key.data
        if kind == socket.SOCK_STREAM:
            c, peer = key.fileobj.accept()
            c.close()
        else:
            data, peer = key.fileobj.recvfrom(512)
        out.write(f"{kind.name} {port} {peer[0]}\n")
"#;

struct Canary {
    child: Child,
    stdin: Option<ChildStdin>,
    seen: std::path::PathBuf,
}

impl Canary {
    fn in_network(network: &Path, directory: &Path, name: &str, ports: &[&str]) -> Self {
        let seen = directory.join(name);
        fs::write(&seen, "").unwrap();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", network.display())).args(["/usr/bin/python3", "-c", CANARY]).arg(&seen).args(ports);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { stdin: child.stdin.take(), child, seen }
    }

    fn seen(&self) -> Vec<String> {
        fs::read_to_string(&self.seen).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.stdin.take() {
            let _ = stdin.write_all(b"\n");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the agent tries: every address given, TCP and UDP, on every port; names by the engine's name server; its own neighbours.
const TRY: &str = r#"
import errno, os, re, socket, struct, sys
said = []
def attempt(what, action):
    try:
        action(); said.append(f"{what} open")
    except OSError as e:
        if e.errno == errno.ECONNREFUSED and "self" not in what:
            said.append(f"{what} answered")
targets = sys.argv[1].split(",")
routes = [line.split() for line in open("/proc/net/route")][1:]
number = lambda text: struct.unpack("<I", bytes.fromhex(text))[0]
own = [(number(r[1]) , number(r[7])) for r in routes if r[7] != "00000000"]
def swap(n): return struct.unpack(">I", struct.pack("<I", n))[0]
subnet = swap([struct.unpack(">I", bytes.fromhex(r[1]))[0] for r in routes if r[7] != "00000000"][0])
base = struct.unpack("<I", bytes.fromhex([r[1] for r in routes if r[7] != "00000000"][0]))[0]
import ipaddress
local = ipaddress.ip_address(struct.pack("<I", int([r[1] for r in routes if r[7] != "00000000"][0], 16))[::1])
mine = {line.split()[0] for line in open("/etc/hosts") if line[0].isdigit()}
for n in range(1, 15):
    targets.append(str(local + n))
egress = next(l.split()[0] for l in open("/etc/hosts") if re.search(r"\b(egress|pipelock)\b", l))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((egress, 1)); me = s.getsockname()[0]
for target in targets:
    for port in (53, 18999):
        if target in (me,):
            continue
        def tcp():
            with socket.socket() as s:
                s.settimeout(0.3); s.connect((target, port))
        if target != egress:
            attempt(f"tcp {target} {port}", tcp)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
            try: u.sendto(b"\0\1\1\0\0\1\0\0\0\0\0\0\4leak\4test\0\0\1\0\1", (target, port))
            except OSError: pass
# The engine's own name server.
def query(server, name):
    q = b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0" + b"".join(bytes([len(p)]) + p for p in name.encode().split(b".")) + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
        u.settimeout(1.5); u.sendto(q, (server, 53)); answer = u.recv(512)
        return answer[3] & 15, struct.unpack(">H", answer[6:8])[0]
for server in ("127.0.0.11", "127.0.0.53"):
    for name in ("leak.test", "stolen-data.example.com"):
        try:
            code, answers = query(server, name)
            if answers: said.append(f"{server} resolved {name}")
        except OSError: pass
for name in ("host.docker.internal", "gateway.docker.internal", "leak.test"):
    try: socket.getaddrinfo(name, 80); said.append(f"{name} resolves")
    except OSError: pass
# IPv6 and lower layers.
for family, kind, proto in ((socket.AF_INET6, socket.SOCK_DGRAM, 0),):
    try:
        with socket.socket(family, kind) as s: s.connect(("2001:db8::1", 53)); said.append("ipv6 route")
    except OSError: pass
for what, args in (("raw", (socket.AF_INET, socket.SOCK_RAW, 1)), ("packet", (17, socket.SOCK_RAW, 3)), ("icmp", (socket.AF_INET, socket.SOCK_DGRAM, 1))):
    try: socket.socket(*args).close(); said.append(f"{what} socket")
    except OSError: pass
if any("if_inet6" == f for f in os.listdir("/proc/net")) and open("/proc/net/if_inet6").read().strip(): said.append("ipv6 address")
for command in ("ip link add x type dummy", "ip route add 8.8.8.8 dev eth0", "ip addr add 10.9.9.9/24 dev eth0", "ip link set eth0 promisc on", "unshare -n true"):
    if os.system(command + " 2>/dev/null >&2") == 0: said.append(f"did {command}")
print("\n".join(said) or "nothing")
"#;

fn bridges(engine: &Engine) -> Vec<String> {
    let output =
        Command::new("nsenter").arg(format!("--net={}", engine.host().display())).args(["ip", "-4", "-o", "addr"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(|line| Some(line.split_whitespace().nth(3)?.split('/').next()?.to_owned())).collect()
}

// covers: N04 N05 N11 N12
#[test]
fn an_agent_on_an_engine_reaches_neither_the_host_nor_anything_beyond() {
    for engine in engines() {
        for routes in [true, false] {
            let mut world = World::on(Some(engine), Some(ORDINARY)).file("try.py", TRY);
            if routes {
                world = world.route("echo.test", "");
            }
            let world = world.ready("provider: shell");
            let place = world.bottle.path().to_owned();
            let ports = ["53", "18999"];
            let canaries = [("host", engine.host()), ("world", engine.world())]
                .map(|(name, network)| Canary::in_network(network, &place, name, &ports));
            let mut targets = bridges(engine);
            assert!(targets.len() > 2 && targets.contains(&HOST.to_string()), "{targets:?}");
            targets.extend([WORLD.to_string(), "169.254.169.254".into(), "172.17.0.1".into()]);
            targets.retain(|target| !target.starts_with("127."));
            let said = world.said(&format!("/usr/bin/python3 try.py {}", targets.join(",")));
            world.is_gone();
            assert_eq!(said, "nothing\n", "{}", engine.name);
            assert_eq!(canaries.iter().map(Canary::seen).collect::<Vec<_>>(), [Vec::<String>::new(), Vec::new()], "{}", engine.name);
            assert_eq!(world.origin.connections(), []);
        }
    }
}

// covers: N13 X02
#[test]
fn two_bottles_on_one_engine_do_not_reach_each_other() {
    for engine in engines() {
        let worlds = ["one", "two"]
            .map(|_| World::on(Some(engine), Some(ORDINARY)).route("echo.test", "").file("try.py", TRY).ready("provider: shell"));
        let first = worlds[0].bottle.start(["start", NAME, "--yes", "--headless", "--", "sh", "-c", "echo rea''dy; exec sleep 300"]);
        first.said("ready\n");
        let addresses = engine.said(["ps", "-q"]);
        let networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        let addresses = engine.said(["inspect", "--format", networks].into_iter().chain(addresses.split_whitespace()));
        let targets: Vec<&str> = addresses.split_whitespace().collect();
        assert!(targets.len() >= 3, "{addresses}");
        let said = worlds[1].said(&format!(
            "/usr/bin/python3 try.py {} && curl -s -m 1 --noproxy '*' http://{}:9099/ || true",
            targets.join(","),
            targets[0]
        ));
        assert_eq!(said, "nothing\n", "{}", engine.name);
        crate::life::support::send(first.pid(), libc::SIGTERM);
        first.end();
        worlds.iter().for_each(World::is_gone);
    }
}

// covers: C10
#[test]
fn the_engines_own_pools_of_addresses_may_be_empty() {
    for engine in engines() {
        let mut made = Vec::new();
        // Its pools end after about thirty networks.
        for n in 0..40 {
            let name = format!("filler-{}-{n}", std::process::id());
            if !engine.docker(["network", "create", &name]).output().unwrap().status.success() {
                break;
            }
            made.push(name);
        }
        let exhausted = made.len() < 40;
        let bottle = under(Some(engine), Bottle::new(program())).as_user(ORDINARY).patience(Duration::from_secs(120));
        let ended = bottle.run(["start", "shell", "--yes", "--", "true"]);
        engine.said(["network", "rm"].into_iter().chain(made.iter().map(String::as_str)));
        assert!(exhausted, "{}: 40 networks were made, which was to be too many", engine.name);
        ended.expect(0, "", "");
        is_gone(Some(engine), &bottle);
    }
}

// covers: S03
#[test]
fn no_secret_is_in_anything_that_the_engine_can_be_asked_for() {
    for engine in engines() {
        let world = World::on(Some(engine), Some(ORDINARY))
            .setting("env: { PLAIN: \"${PLAIN_SECRET}\" }")
            .route("echo.test", &format!(", auth: {{ token_ref: {} }}", crate::net::world::TOKEN))
            .env("PLAIN_SECRET", "plain-secret-of-the-operator-4711")
            .ready("provider: shell");
        let run = world.bottle.start(["start", NAME, "--yes", "--headless", "--", "sh", "-c", "echo rea''dy; exec sleep 300"]);
        run.said("ready\n");
        let owner = format!("label=dev.bottle.state={}", crate::net::world::owner(&world.bottle));
        let mut said = String::new();
        for (list, inspect) in [
            (&["ps", "-aq"][..], &["inspect"][..]),
            (&["network", "ls", "-q"], &["network", "inspect"]),
            (&["volume", "ls", "-q"], &["volume", "inspect"]),
        ] {
            let ids = engine.said(list.iter().copied().chain(["--filter", &owner]));
            if !ids.is_empty() {
                said += &engine.said(inspect.iter().copied().chain(ids.split_whitespace()));
            }
        }
        let compose = fs::read_dir(world.bottle.path().join("state/bottle")).unwrap().filter_map(Result::ok);
        for entry in compose {
            said += &fs::read_to_string(entry.path().join("docker-compose.yml")).unwrap_or_default();
        }
        assert!(said.contains("dev.bottle.project") && said.contains("services"), "{said}");
        assert!(!said.contains(world.token.value()) && !said.contains("plain-secret-of"), "{}", engine.name);
        let inspected: Vec<Value> = serde_json::from_str(
            &engine.said(["inspect"].into_iter().chain(engine.said(["ps", "-q", "--filter", &owner]).split_whitespace())),
        )
        .unwrap();
        for container in &inspected {
            let host = &container["HostConfig"];
            assert_eq!((&host["ReadonlyRootfs"], &host["Privileged"], &host["CapDrop"][0]), (&true.into(), &false.into(), &"ALL".into()));
            assert_eq!((&host["RestartPolicy"]["Name"], &host["SecurityOpt"][0]), (&"no".into(), &"no-new-privileges:true".into()));
            assert_eq!(container["Config"]["User"], format!("{ORDINARY}:{ORDINARY}"));
            assert!(host["PidsLimit"].as_u64() > Some(0) && host["Memory"].as_u64() > Some(0));
        }
        assert_eq!(inspected.len(), 3);
        crate::life::support::send(run.pid(), libc::SIGTERM);
        run.end();
        world.is_gone();
    }
}

#[test]
fn a_path_that_compose_would_change_arrives_as_it_is() {
    for engine in engines() {
        for odd in ["with $HOME and ${X}", "no", "a:b,c", "#x"] {
            let bottle = under(Some(engine), Bottle::new(program())).patience(Duration::from_secs(120));
            let directory = bottle.path().join("work").join(odd);
            fs::create_dir(&directory).unwrap();
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
            fs::write(directory.join("here"), odd).unwrap();
            let bottle = bottle.in_directory(&directory).as_user(ORDINARY);
            bottle.run(["start", "shell", "--yes", "--", "cat", "here"]).expect(0, odd, "");
            is_gone(Some(engine), &bottle);
        }
    }
}
