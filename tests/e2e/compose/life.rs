//! What becomes of a bottle on an engine when something ends that should not: the supervisor, the daemon, a start half-way; and what it
//! finds when it starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bottle_test_support::bottle::Bottle;
use bottle_test_support::deadline::wait_until;
use bottle_test_support::engine::{Engine, engines, victims};
use bottle_test_support::process::snapshot;
use bottle_test_support::shim;
use bottle_test_support::warden::Ending;

use crate::life::support::{after, program, send};
use crate::net::world::{NAME, World, is_gone, owner, under};

/// Somebody who owns nothing.
const ORDINARY: u32 = 54_321;
/// Longer than an engine takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

fn bottle(engine: &'static Engine) -> Bottle {
    under(Some(engine), Bottle::new(program())).as_user(ORDINARY).patience(Duration::from_secs(120))
}

fn start(script: &str) -> [&str; 7] {
    ["start", "shell", "--yes", "--", "sh", "-c", script]
}

/// The bottle's processes in containers: those that the engine's control groups hold and that run our programs.
fn contained(project_owner: &str, engine: &Engine) -> Vec<i32> {
    let ids = engine.said(["ps", "-aq", "--no-trunc", "--filter", &format!("label=dev.bottle.state={project_owner}")]);
    let ids: Vec<&str> = ids.split_whitespace().collect();
    let holds = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| ids.iter().any(|id| groups.contains(id)));
    snapshot("").iter().map(|process| process.pid).filter(|pid| holds(*pid)).collect()
}

// covers: K04
#[test]
fn a_bottle_whose_supervisor_is_killed_ends_at_once_and_cleanup_removes_the_rest() {
    for engine in engines() {
        let world = World::on(Some(engine), Some(ORDINARY)).route("echo.test", "").ready("provider: shell");
        let mut run = world.bottle.start([
            "start",
            NAME,
            "--yes",
            "--headless",
            "--",
            "sh",
            "-c",
            "trap '' TERM INT HUP; echo rea''dy; while :; do sleep 1; done",
        ]);
        run.said("ready\n");
        let owner = owner(&world.bottle);
        let running = contained(&owner, engine);
        assert!(running.len() >= 5, "{running:?}");
        send(run.pid(), libc::SIGKILL);
        let killed = Instant::now();
        run.wait(TIMEOUT);
        let gone = wait_until(TIMEOUT, || running.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()).then(|| killed.elapsed()));
        assert!(gone.is_some_and(|time| time < Duration::from_secs(10)), "{}: {gone:?}", engine.name);
        drop(run.end_killed());
        let said = world.bottle.run(["cleanup"]);
        assert_eq!((said.ending, said.stdout.as_str()), (Ending::Code(0), "removed the leftovers of [ID]\n"), "{}", said.stderr);
        world.is_gone();
        // What the sidecars said is kept all the same.
        let state = world.bottle.path().join("state/bottle");
        let kept = fs::read_dir(&state).unwrap().filter_map(Result::ok).find(|entry| entry.path().is_dir()).unwrap().path();
        let log = fs::read_to_string(kept.join("compose.log")).unwrap();
        assert!(log.contains("egress   | ") && log.contains("pipelock | "), "{log}");
        world.bottle.run(["cleanup"]).expect(0, "nothing to do\n", "");
    }
}

/// The bottle's own directory.
fn state(bottle: &Bottle) -> PathBuf {
    bottle.path().join("state/bottle/shell")
}

/// Runs bottle as its user, without giving that user what somebody else has made: see [`Bottle::beside`].
#[track_caller]
fn beside(bottle: &Bottle, arguments: &[&str]) -> String {
    let said = bottle.beside(program(), arguments).output().unwrap();
    // `diff` counts the changes there.
    let counted = arguments[0] == "diff" && String::from_utf8_lossy(&said.stderr).ends_with(" deleted\n");
    assert!(said.status.success() && (said.stderr.is_empty() || counted), "{arguments:?}: {said:?}");
    String::from_utf8(said.stdout).unwrap()
}

// covers: I04
#[test]
fn what_the_engines_root_made_in_the_workspace_is_gone_with_the_bottle() {
    for engine in engines() {
        for kill in [false, true] {
            let bottle = bottle(engine);
            fs::write(bottle.path().join("work/old"), "old").unwrap();
            fs::write(bottle.path().join("work/other"), "old").unwrap();
            // To delete a file is what leaves a node of root's.
            let mut run = bottle.start(start("rm old; echo new >other; echo rea''dy; while :; do sleep 0.1; done"));
            run.said("ready\n");
            send(run.pid(), if kill { libc::SIGKILL } else { libc::SIGTERM });
            run.wait(TIMEOUT);
            let ended = run.end_killed();
            if kill {
                assert!(state(&bottle).join("workspace/work/work").exists(), "{}: the test has lost its point", engine.name);
                assert_eq!(beside(&bottle, &["cleanup"]), "removed the leftovers of shell\n");
            } else {
                assert!(!ended.stderr.contains("cannot"), "{}: {}", engine.name, ended.stderr);
            }
            assert!(!state(&bottle).join("workspace/work").exists(), "{} {kill}", engine.name);
            is_gone(Some(engine), &bottle);
            let changes = beside(&bottle, &["diff", "shell"]);
            assert!(changes.contains("old") && changes.contains("other"), "{changes}");
            beside(&bottle, &["cleanup", "--all", "--force"]);
            assert!(!state(&bottle).exists());
            assert_eq!(beside(&bottle, &["cleanup"]), "nothing to do\n");
            bottle.run(start("exit 4")).expect(4, "", "");
        }
    }
}

// covers: C09
#[test]
fn what_no_bottle_accounts_for_is_found_by_its_label() {
    for engine in engines() {
        let bottle = bottle(engine);
        let run = bottle.start(start("echo rea''dy; while :; do sleep 0.1; done"));
        run.said("ready\n");
        send(run.pid(), libc::SIGKILL);
        drop(run.end_killed());
        fs::remove_dir_all(bottle.path().join("state/bottle/shell")).unwrap();
        let project = format!("bottle-shell-{}", &owner(&bottle)[..8]);
        bottle.run(["cleanup"]).expect(0, "removed the runtime directory of shell\n", "");
        bottle.run(["cleanup", "--backend", "compose", "-n"]).expect(0, &format!("would remove the project {project}\n"), "");
        bottle.run(["cleanup", "--backend", "compose"]).expect(0, &format!("removed the project {project}\n"), "");
        is_gone(Some(engine), &bottle);
    }
}

// covers: K04 C04
#[test]
fn a_start_that_is_killed_at_any_instant_leaves_nothing_after_cleanup() {
    for engine in engines() {
        for tenths in [1, 5, 10, 16, 24] {
            let bottle = bottle(engine);
            let run = bottle.start(start("sleep 30"));
            after(Duration::from_millis(100 * tenths));
            send(run.pid(), libc::SIGKILL);
            drop(run.end_killed());
            let said = bottle.run(["cleanup"]);
            assert_eq!(said.ending, Ending::Code(0), "{} after {tenths}/10 s: {}", engine.name, said.stderr);
            is_gone(Some(engine), &bottle);
            let processes: Vec<_> = snapshot(&bottle.path().to_string_lossy())
                .into_iter()
                .filter(|process| process.marked)
                .map(|process| process.command)
                .collect();
            assert_eq!(processes, Vec::<String>::new());
        }
    }
}

// covers: L10
#[test]
fn a_signal_at_any_instant_ends_a_start_on_an_engine() {
    for engine in engines() {
        for tenths in [2, 7, 13, 20, 30] {
            let bottle = bottle(engine);
            let run = bottle.start(start("sleep 1; exit 3"));
            after(Duration::from_millis(100 * tenths));
            send(run.pid(), libc::SIGTERM);
            let ended = run.end();
            assert!(
                [Ending::Code(143), Ending::Signal(15), Ending::Code(3)].contains(&ended.ending),
                "{} {tenths}: {ended:?}",
                engine.name
            );
            is_gone(Some(engine), &bottle);
        }
    }
}

// covers: C01
#[test]
fn an_engine_that_is_not_there_or_does_not_answer_is_an_error_within_seconds() {
    let _alone = alone();
    let Some(engine) = victims().first() else { return };
    let expect = |bottle: &Bottle, cause: &str| {
        let asked = Instant::now();
        let ended = bottle.run(start("true"));
        assert_eq!((ended.ending, ended.stdout.as_str()), (Ending::Code(125), ""), "{}", ended.stderr);
        assert!(ended.stderr.starts_with("error: there is no engine for the compose backend\ncause: "), "{}", ended.stderr);
        assert!(ended.stderr.contains(cause), "{}", ended.stderr);
        assert!(asked.elapsed() < Duration::from_secs(12), "{:?}", asked.elapsed());
        assert!(!bottle.path().join("state/bottle/shell").exists());
    };
    expect(&bottle(engine).env("DOCKER_HOST", "unix:///nowhere/docker.sock"), "docker");
    expect(&bottle(engine).env("DOCKER_HOST", "tcp://192.0.2.1:2375"), "another machine");
    expect(&bottle(engine).env("PATH", "/nowhere"), "no `docker` on PATH");
    let socket = engine.directory().join("docker.sock");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
    expect(&bottle(engine), "ermission denied");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let daemon = daemon(engine);
    send(daemon, libc::SIGSTOP);
    let hangs = std::panic::catch_unwind(|| expect(&bottle(engine), "did not answer within 5 seconds"));
    send(daemon, libc::SIGCONT);
    hangs.unwrap();
}

// covers: C01
#[test]
fn an_engine_that_hangs_when_a_bottle_ends_is_not_waited_for_and_cleanup_does_the_rest() {
    let _alone = alone();
    let Some(engine) = victims().last() else { return };
    let bottle = bottle(engine);
    let run = bottle.start(start("echo rea''dy; while :; do sleep 0.1; done"));
    run.said("ready\n");
    let daemon = daemon(engine);
    send(daemon, libc::SIGSTOP);
    // The agent and its end do not need the daemon.
    send(run.pid(), libc::SIGTERM);
    let asked = Instant::now();
    let ended = run.end_killed();
    let took = asked.elapsed();
    let refused = bottle.beside(program(), ["cleanup"]).output().unwrap();
    send(daemon, libc::SIGCONT);
    assert_eq!(ended.ending, Ending::Code(143), "{}", ended.stderr);
    assert!(ended.stderr.contains("`bottle cleanup`") && took < Duration::from_secs(40), "{took:?} {}", ended.stderr);
    assert_eq!(refused.status.code(), Some(125), "{}", String::from_utf8_lossy(&refused.stderr));
    let said = bottle.run(["cleanup"]);
    assert_eq!(said.ending, Ending::Code(0), "{}", said.stderr);
    is_gone(Some(engine), &bottle);
}

/// Ends the daemon as a crash does, and waits until it is back.
#[track_caller]
fn crash(engine: &Engine) {
    let hold = engine.directory().join("hold");
    fs::write(&hold, "").unwrap();
    send(daemon(engine), libc::SIGKILL);
    fs::remove_file(&hold).unwrap();
    let back = wait_until(TIMEOUT, || engine.docker(["version"]).output().is_ok_and(|said| said.status.success()).then_some(()));
    assert!(back.is_some(), "{} did not come back", engine.name);
}

/// Prints numbers until it is asked to end.
const COUNTER: &str = "trap 'echo last $n; exit 9' TERM; echo rea''dy; n=0; while :; do n=$((n+1)); echo $n; sleep 0.05; done";

// covers: C02
#[test]
fn a_daemon_that_dies_with_its_containers_ends_the_bottle_and_the_rest_can_be_removed() {
    let _alone = alone();
    let Some(engine) = victims().iter().find(|engine| engine.name == "release") else { return };
    let bottle = bottle(engine);
    let run = bottle.start(start(COUNTER));
    run.said("ready\n");
    crash(engine);
    // The new daemon ends what the old one left.
    let ended = run.end_killed();
    // Which of the containers it ends first is its own affair.
    let expected = match ended.stderr.contains("the agent's namespace was killed from outside") {
        true => 137,
        false => 125,
    };
    assert!(expected == 137 || ended.stderr.contains("exited; the agent has lost network access"), "{}", ended.stderr);
    assert_eq!(ended.ending, Ending::Code(expected), "{}", ended.stderr);
    let said = bottle.run(["cleanup"]);
    assert_eq!(said.ending, Ending::Code(0), "{}", said.stderr);
    is_gone(Some(engine), &bottle);
    bottle.run(start("exit 4")).expect(4, "", "");
}

// covers: C03
#[test]
fn a_daemon_that_dies_without_its_containers_is_not_missed() {
    let _alone = alone();
    let Some(engine) = victims().iter().find(|engine| engine.name == "current") else { return };
    let bottle = bottle(engine);
    let run = bottle.start(start(COUNTER));
    run.said("ready\n");
    crash(engine);
    run.said("\n30\n");
    send(run.pid(), libc::SIGTERM);
    let ended = run.end();
    assert_eq!(ended.ending, Ending::Code(9), "{}{}", ended.stdout, ended.stderr);
    let numbers: Vec<u32> = ended.stdout.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(numbers, (1..=u32::try_from(numbers.len()).unwrap()).collect::<Vec<_>>());
    assert!(ended.stdout.ends_with(&format!("last {}\n", numbers.len())));
    is_gone(Some(engine), &bottle);
}

// covers: C08
#[test]
fn a_strangers_container_on_the_bottles_network_does_not_keep_it() {
    for engine in engines() {
        let bottle = bottle(engine);
        let run = bottle.start(start("echo rea''dy; while :; do sleep 0.1; done"));
        run.said("ready\n");
        let networks = engine.said(["network", "ls", "-q", "--filter", &format!("label=dev.bottle.state={}", owner(&bottle))]);
        let image = engine.said(["images", "-q", "--no-trunc", "--filter", "reference=localhost/bottle/egress"]);
        let stranger = format!("stranger-{}", std::process::id());
        let network = networks.split_whitespace().next().unwrap();
        let image = image.split_whitespace().next().expect("a test before this one has loaded it");
        engine.said(["create", "--name", &stranger, "--network", network, image]);
        // One that runs holds an endpoint.
        let own = bottle.path().join("sleeper");
        fs::copy(program(), &own).unwrap();
        let _ = engine.docker(["start", &stranger]).output();
        send(run.pid(), libc::SIGTERM);
        let ended = run.end();
        let is_left = engine.said(["ps", "-aq", "--filter", &format!("name={stranger}")]);
        engine.said(["rm", "--force", &stranger]);
        assert_eq!((ended.ending, ended.stderr.contains("cannot")), (Ending::Code(143), false), "{}", ended.stderr);
        assert!(!is_left.is_empty(), "a container that is not ours was removed");
        is_gone(Some(engine), &bottle);
    }
}

// covers: X05 C07
#[test]
fn a_name_that_is_taken_is_refused_and_a_similar_one_is_not_touched() {
    for engine in engines() {
        let bottle = bottle(engine);
        let label = owner(&bottle);
        let project = format!("bottle-shell-{}", &label[..8]);
        let image = engine.said(["images", "-q", "--no-trunc", "--filter", "reference=localhost/bottle/*"]);
        let image = image.split_whitespace().next().map(str::to_owned);
        let Some(image) = image else { continue };
        let (taken, similar) = (format!("taken-{}", std::process::id()), format!("similar-{}", std::process::id()));
        engine.said(["create", "--name", &taken, "--label", &format!("com.docker.compose.project={project}"), &image, "x"]);
        engine.said(["create", "--name", &similar, "--label", &format!("dev.bottle.project={project}-2"), &image, "x"]);
        let ended = bottle.run(start("true"));
        assert_eq!(ended.ending, Ending::Code(125), "{ended:?}");
        assert!(ended.stderr.starts_with("error: cannot start bottle `[ID]`: its project's name is taken\n"), "{}", ended.stderr);
        engine.said(["rm", "--force", &taken]);
        bottle.run(start("exit 2")).expect(2, "", "");
        let left = engine.said(["ps", "-aq", "--filter", &format!("name={similar}")]);
        engine.said(["rm", "--force", &similar]);
        assert!(!left.is_empty(), "what only begins alike was removed");
        is_gone(Some(engine), &bottle);
    }
}

// covers: C06
#[test]
fn the_compose_that_is_there_is_used_and_named() {
    let shims = tempfile::tempdir().unwrap();
    fs::set_permissions(shims.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for engine in engines() {
        let shown = |bottle: Bottle| {
            let mut run = bottle.at_terminal(["start", "shell"], 200, 40);
            let seen = run.pty.wait_for("start? [y/N] ", TIMEOUT).unwrap();
            run.pty.send(b"n\n").unwrap();
            run.end();
            String::from_utf8_lossy(&seen).into_owned()
        };
        let expected = if engine.name == "current" { "docker compose 2.40" } else { "docker-compose 1.29.2 on Engine 20.10" };
        let seen = shown(bottle(engine));
        assert!(seen.contains(expected) && seen.contains("(agent shell, bottle closed, compose)") || seen.contains(expected), "{seen}");
        // A client without any compose.
        let client = which(engine, "docker");
        let alone = shims.path().join(engine.name);
        fs::create_dir(&alone).unwrap();
        std::os::unix::fs::symlink(client, alone.join("docker")).unwrap();
        let config = alone.join("config");
        fs::create_dir(&config).unwrap();
        let ended =
            bottle(engine).env("PATH", format!("{}:/usr/bin:/bin", alone.display())).env("DOCKER_CONFIG", config).run(start("true"));
        assert_eq!(ended.ending, Ending::Code(125));
        assert!(ended.stderr.contains("neither a compose plugin nor `docker-compose` on PATH"), "{}", ended.stderr);
    }
}

// covers: O01 C20
#[test]
fn every_line_of_every_sidecar_is_in_both_logs_whatever_driver_the_daemon_prefers() {
    for engine in engines() {
        // The engines of the tests keep no logs unless they are asked to: see `daemon.json` in `tests/engines/engine`.
        assert_eq!(engine.said(["info", "--format", "{{.LoggingDriver}}"]), "none");
        let world = World::on(Some(engine), Some(ORDINARY)).route("echo.test", "").ready("provider: shell");
        let ended = world.sh("for n in $(seq 300); do printf 'GET http://no-%s.test/ HTTP/1.1\\r\\nHost: no-%s.test\\r\\n\\r\\n' $n $n | (exec 3<>/dev/tcp/egress/9099; cat >&3; head -c 12 <&3 >/dev/null) & [ $((n % 20)) = 0 ] && wait; done 2>/dev/null; wait; true");
        assert_eq!(ended.ending, Ending::Code(0), "{}", ended.stderr);
        world.is_gone();
        let state = world.bottle.path().join("state/bottle").join(NAME);
        let log = fs::read_to_string(state.join("compose.log")).unwrap();
        for component in ["egress", "pipelock"] {
            let ours = fs::read_to_string(state.join("logs").join(format!("{component}.jsonl"))).unwrap();
            let theirs: Vec<&str> = log.lines().filter(|line| line.starts_with(component)).collect();
            assert_eq!(theirs.len(), ours.lines().count(), "{}: {component}", engine.name);
            assert!(theirs.last().is_some_and(|line| line.contains("stopping")), "{:?}", theirs.last());
            let stamps: Vec<&str> = theirs.iter().filter_map(|line| line.split_once("| ")?.1.split(' ').next()).collect();
            assert!(stamps.is_sorted() && stamps.iter().all(|stamp| stamp.ends_with('Z')), "{stamps:?}");
        }
        let verified = world.bottle.run(["audit", "verify", NAME]);
        assert_eq!(verified.ending, Ending::Code(0), "{}", verified.stderr);
    }
}

/// The tests that stop or end a daemon go one after another.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn daemon(engine: &Engine) -> i32 {
    let socket = format!("unix://{}/docker.sock", engine.directory().display());
    let is_daemon = |command: &str| command.contains("dockerd") && command.contains(&socket) && !command.contains("bash");
    snapshot("").iter().find(|process| is_daemon(&process.command)).expect("the daemon runs").pid
}

fn which(engine: &Engine, name: &str) -> PathBuf {
    bottle_test_support::tools::find(name, engine.variable("PATH")).unwrap()
}

// covers: C17 L09
#[test]
fn a_sidecar_that_does_not_serve_on_an_engine_fails_the_start_and_is_named() {
    for engine in engines() {
        for (behaviour, what) in [("exit", "`egress` exited before it was ready"), ("mute", "`egress` does not serve")] {
            let bottle = bottle(engine).bottle("routed", "egress:\n  routes:\n    - host: example.test").agent(
                "routed",
                "bottle: routed\nprovider: shell",
                "",
            );
            let libexec = bottle.path().join("libexec");
            fs::create_dir(&libexec).unwrap();
            fs::copy(program().with_file_name("bottle-pipelock"), libexec.join("bottle-pipelock")).unwrap();
            shim::make(&libexec.join("bottle-egress"), behaviour);
            let bottle = bottle.env("BOTTLE_LIBEXEC", &libexec);
            let ended = bottle.run(["start", "routed", "--yes", "--", "sh", "-c", "echo ran"]);
            assert_eq!((ended.ending, ended.stdout.as_str()), (Ending::Code(125), ""), "{}", ended.stderr);
            assert!(ended.stderr.starts_with(&format!("error: {what}\n")), "{behaviour}: {}", ended.stderr);
            is_gone(Some(engine), &bottle);
        }
    }
}
