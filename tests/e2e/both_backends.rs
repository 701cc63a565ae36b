//! One suite for every backend: the same bottle, the same agent, the same questions; the answers, the verdicts in the timeline, the logs and
//! what the far end saw are compared between backends, not only with what is expected.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bottle_test_support::bottle::Bottle;
use bottle_test_support::run::Ended;
use bottle_test_support::warden::Ending;
use serde_json::Value;

use crate::life::support::{TIMEOUT, program, send};
use crate::net::world::{NAME, Place, TOKEN, World, is_gone, places, under, users};

const ASK: &str = include_str!("net/ask.py");

/// Somebody for whom nothing is an exception.
fn ordinary() -> Option<u32> {
    users().pop().flatten()
}

fn name(place: Place) -> &'static str {
    place.map_or("embedded", |engine| engine.name)
}

/// Runs `look` on every backend and compares what it finds with what it found on the first.
#[track_caller]
fn same<T: PartialEq + std::fmt::Debug>(look: impl Fn(Place) -> T) -> T {
    let mut places = places().into_iter();
    let first = look(places.next().expect("there is always one"));
    for place in places {
        let other = look(place);
        assert!(other == first, "{} differs\nembedded: {first:#?}\n{}: {other:#?}", name(place), name(place));
    }
    first
}

/// A bottle of a shell's, without routes.
fn plain(place: Place, user: Option<u32>) -> Bottle {
    let bottle = under(place, Bottle::new(program())).patience(Duration::from_secs(120));
    match user {
        Some(user) => bottle.as_user(user),
        None => bottle,
    }
}

fn start(script: &str) -> Vec<String> {
    ["start", "shell", "--yes", "--", "sh", "-c", script].map(str::to_owned).to_vec()
}

fn run(place: Place, bottle: &Bottle, arguments: Vec<String>) -> Ended {
    let ended = bottle.run(arguments);
    is_gone(place, bottle);
    ended
}

/// The events of one bottle's timeline without what differs from run to run: times, hashes, sizes of answers, addresses.
fn timeline(bottle: &Bottle) -> Vec<BTreeMap<String, Value>> {
    const COMPARED: [&str; 11] =
        ["component", "level", "event", "method", "origin", "path", "status", "reason", "rule", "generation", "message"];
    let state = bottle.path().join("state/bottle");
    let id = fs::read_dir(&state).unwrap().filter_map(Result::ok).find(|entry| entry.path().is_dir()).unwrap().path();
    let text = fs::read_to_string(id.join("timeline.jsonl")).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<BTreeMap<String, Value>>(line).unwrap());
    let kept = events.map(|event| event.into_iter().filter(|(key, _)| COMPARED.contains(&key.as_str())).collect());
    // Two sidecars get ready, and end, in any order; what one of them says is in order.
    let mut events: Vec<BTreeMap<String, Value>> = kept.collect();
    events.sort_by_key(|event| event.get("component").and_then(Value::as_str).unwrap_or_default().to_owned());
    events
}

/// What a component of it printed, without times and identities.
fn logged(bottle: &Bottle, component: &str) -> Vec<String> {
    let said = bottle.beside(program(), ["logs", NAME, component]).output().expect("logs can be read");
    String::from_utf8_lossy(&said.stdout).lines().map(|line| line.split_once(' ').map_or(line, |(_, rest)| rest).to_owned()).collect()
}

const QUESTIONS: &str = "absolute unlisted.test
connect unlisted.test
connect 169.254.169.254
connect 10.0.0.1
connect 127.0.0.1
connect [::1]
connect 2130706433
connect 0177.0.0.1
connect egress:9099
absolute localhost
raw echo.test
tls echo.test echo.test /fine
tls echo.test echo.test /refused
tls echo.test echo.test /fine/%2e%2e/refused
tls echo.test other.test
tls other.test echo.test
host echo.test unlisted.test
tls other.test other.test /echo?key=AKIAQYLPMN5HHHFPZAM2";

fn asked(place: Place) -> World {
    World::on(place, ordinary())
        .route("echo.test", &format!(", matches: [{{ paths: [/fine] }}], auth: {{ token_ref: {TOKEN} }}"))
        .route("other.test", "")
        .file("ask.py", ASK)
        .file("questions", QUESTIONS)
        .ready("provider: shell")
}

// covers: N06 N07 H01
#[test]
fn every_verdict_is_the_same_and_so_is_its_record() {
    let found = same(|place| {
        let world = asked(place);
        let said = world.said("/usr/bin/python3 ask.py <questions");
        world.is_gone();
        let seen: Vec<_> = world
            .since(0)
            .into_iter()
            .map(|request| {
                let token = request.header("authorization").map(|value| value == format!("Bearer {}", world.token.value()));
                (request.method, request.target, request.host, token)
            })
            .collect();
        let lines: Vec<String> = said.lines().map(str::to_owned).collect();
        (lines, seen, timeline(&world.bottle))
    });
    assert_eq!(found.0.len(), QUESTIONS.lines().count(), "{found:#?}");
    let echo = found.1.iter().filter(|(_, target, ..)| target.ends_with("/fine")).collect::<Vec<_>>();
    assert!(echo.len() == 1 && echo[0].3 == Some(true), "{found:#?}");
    assert!(found.0.iter().any(|line| line.ends_with("403 host_not_listed")), "{found:#?}");
}

// covers: L01 L02
#[test]
fn an_exit_code_is_the_agents_own() {
    for place in places() {
        let bottle = plain(place, ordinary());
        for code in [0, 1, 125, 255] {
            assert_eq!(run(place, &bottle, start(&format!("exit {code}"))).ending, Ending::Code(code), "{}", name(place));
        }
    }
    for signal in [libc::SIGSEGV, 40] {
        same(|place| {
            let ended = run(place, &plain(place, ordinary()), start(&format!("kill -{signal} $$")));
            assert_eq!(ended.ending, Ending::Code(128 + signal));
            Ended { record: None, ..ended }
        });
    }
}

// covers: L03
#[test]
fn a_program_that_cannot_be_started_says_why() {
    for (program, code) in [("/nowhere", 127), ("/etc/passwd", 126), ("/usr", 126)] {
        same(|place| {
            let ended = run(place, &plain(place, ordinary()), ["start", "shell", "--yes", "--", program].map(str::to_owned).to_vec());
            assert_eq!(ended.ending, Ending::Code(code));
            Ended { record: None, ..ended }
        });
    }
}

// covers: O15
#[test]
fn both_outputs_and_the_input_pass_through_whole() {
    same(|place| {
        let bottle = plain(place, ordinary());
        let file = bottle.path().join("input");
        fs::write(&file, (0..=255u8).collect::<Vec<_>>().repeat(1 << 12)).unwrap();
        let script = "sha256sum; echo to-error >&2; head -c 3000000 /dev/zero | sha256sum";
        let run = bottle.start_with(start(script), fs::File::open(&file).unwrap().into());
        let ended = run.end();
        is_gone(place, &bottle);
        assert_eq!((ended.ending, ended.stderr.as_str()), (Ending::Code(0), "to-error\n"));
        ended.stdout
    });
}

// covers: L11 L18
#[test]
fn a_terminal_has_the_operators_size_and_one_interrupt_is_one() {
    for place in places() {
        let bottle = plain(place, ordinary());
        let script = "stty size; tty; trap 'exit 33' INT; trap 'stty size' WINCH; echo rea''dy; while :; do sleep 0.05; done";
        let mut run = bottle.at_terminal(start(script), 91, 37);
        let first = run.pty.wait_for("ready", Duration::from_secs(60)).unwrap();
        let first = String::from_utf8_lossy(&first).into_owned();
        assert!(first.contains("37 91") && first.contains("/dev/pts/"), "{}: {first}", name(place));
        run.pty.resize(120, 44).unwrap();
        run.pty.wait_for("44 120", TIMEOUT).unwrap();
        run.pty.send(b"\x03").unwrap();
        assert_eq!(run.end().0, Ending::Code(33), "{}", name(place));
        is_gone(place, &bottle);
    }
}

// covers: I06
#[test]
fn a_crash_inside_starts_no_program_of_the_host() {
    let said = same(|place| {
        let script = "grep 'Max core' /proc/self/limits; grep 'Max core' /proc/1/limits; true";
        let ended = run(place, &plain(place, ordinary()), start(script));
        assert_eq!(ended.ending, Ending::Code(0), "{}", ended.stderr);
        ended.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    });
    // One byte is what keeps the kernel from a handler behind a pipe; none is not.
    assert!(said.iter().all(|line| line == "Max core file size 1 1 bytes") && !said.is_empty(), "{said:?}");
}

// covers: C13 R07
#[test]
fn an_agent_has_no_privilege_and_can_write_only_what_is_its_own() {
    let script = "grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status; \
        for f in /usr/x /etc/x /x /proc/sys/kernel/core_pattern /proc/sysrq-trigger /run/bottle/init/x; do (: >$f) 2>/dev/null && echo wrote $f; done; \
        for d in /tmp /var/tmp /run $HOME /workspace /dev/shm; do (: >$d/x) && echo own $d; done; \
        id -un; ls -a /proc/self/fd | wc -l; unshare -U true 2>/dev/null || echo no-namespace; cat /proc/1/environ 2>/dev/null | wc -c; \
        ls /var/run/docker.sock /run/docker.sock 2>/dev/null; tr '\\0' '\\n' </proc/self/environ | grep -iE 'token|secret|key' ; true";
    let said = same(|place| {
        let ended = run(place, &plain(place, ordinary()), start(script));
        assert_eq!(ended.ending, Ending::Code(0), "{}", ended.stderr);
        ended.stdout
    });
    assert!(said.contains("CapBnd:\t0000000000000000") && said.contains("NoNewPrivs:\t1") && said.contains("Seccomp:\t2"), "{said}");
    assert!(!said.contains("wrote"), "{said}");
}

/// Everything that `bottle apply` changed in a tree.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![root.to_owned()];
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(directory).unwrap().filter_map(Result::ok) {
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_dir() {
                ahead.push(path);
                found.insert(name, "directory".to_owned());
            } else {
                found.insert(name, fs::read_to_string(&path).unwrap_or_default());
            }
        }
    }
    found
}

#[test]
fn changes_stay_apart_until_they_are_applied() {
    for (user, mode) in [(ordinary(), "overlay"), (ordinary(), "copy"), (None, "overlay")] {
        let found = same(|place| {
            let world = World::on(place, user)
                .setting(&format!("workspace: {mode}"))
                .file("kept", "as it was\n")
                .file("gone", "still there\n")
                .file("deep/moved", "moved\n")
                .ready("provider: shell");
            let work = world.bottle.path().join("work");
            let before = tree(&work);
            let ended =
                world.sh("echo new >added; echo changed >kept; rm gone; mv deep/moved .; rmdir deep; mkdir deep; echo again >deep/x");
            assert_eq!(ended.ending, Ending::Code(0), "{}", ended.stderr);
            world.is_gone();
            assert_eq!(tree(&work), before, "{}: the operator's tree changed", name(place));
            let diff = world.bottle.run(["diff", NAME]);
            let applied = world.bottle.run(["apply", NAME]);
            assert_eq!((&diff.ending, &applied.ending), (&Ending::Code(0), &Ending::Code(0)), "{}{}", diff.stderr, applied.stderr);
            (ended.stderr, diff.stdout, applied.stdout, tree(&work))
        });
        assert_eq!(found.3["kept"], "changed\n", "{found:#?}");
        assert!(found.3.contains_key("moved") && !found.3.contains_key("gone"), "{found:#?}");
    }
}

#[test]
fn a_mounted_tree_is_the_operators_own_and_no_other_mode_writes_to_it() {
    same(|place| {
        let world = World::on(place, ordinary()).setting("workspace: mount").file("kept", "a\n").ready("provider: shell");
        let ended = world.sh("echo b >kept; id -u >/dev/null; touch new");
        world.is_gone();
        assert_eq!(ended.ending, Ending::Code(0), "{}", ended.stderr);
        tree(&world.bottle.path().join("work"))
    });
}

// covers: O02
#[test]
fn a_sidecar_that_is_killed_takes_the_agents_reach_with_it() {
    for place in places() {
        for component in ["egress", "pipelock"] {
            let world = World::on(place, ordinary()).route("echo.test", "").ready("provider: shell");
            let script = "echo rea''dy; trap 'echo asked; exit 5' TERM; while :; do sleep 0.05; done";
            let run = world.bottle.start(["start", NAME, "--yes", "--headless", "--", "sh", "-c", script]);
            run.said("ready\n");
            let victim = sidecar(place, &world.bottle, run.pid(), component);
            send(victim, libc::SIGKILL);
            let ended = run.end();
            world.is_gone();
            assert_eq!(ended.ending, Ending::Code(125), "{}: {ended:?}", name(place));
            assert_eq!(ended.stdout, "ready\nasked\n");
            assert!(
                ended.stderr.contains(&format!("`{component}` exited; the agent has lost network access")),
                "{}: {}",
                name(place),
                ended.stderr
            );
            assert!(!logged(&world.bottle, component).is_empty(), "its log up to its death is kept");
        }
    }
}

/// The process that is a sidecar's, on the host: the one below the container's first.
fn sidecar(place: Place, bottle: &Bottle, supervisor: i32, component: &str) -> i32 {
    match place {
        None => crate::life::support::component(supervisor, &format!("bottle-{component}")),
        Some(engine) => {
            let owner = format!("label=dev.bottle.state={}", crate::net::world::owner(bottle));
            let id =
                engine.said(["ps", "-q", "--no-trunc", "--filter", &owner, "--filter", &format!("label=dev.bottle.component={component}")]);
            // The engine counts in its own pid namespace; its control group has ours.
            let processes = bottle_test_support::process::snapshot("");
            let inside = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(&id));
            let found = processes.iter().find(|process| process.command.contains(&format!("bottle-{component}")) && inside(process.pid));
            found.expect("the sidecar runs").pid
        }
    }
}
