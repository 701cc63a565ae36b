//! The harness against planted faults: each must be found, and nothing else.

use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bottle_test_support::bottle::Bottle;
use bottle_test_support::canary::{Canary, sweep};
use bottle_test_support::deadline::wait_until;
use bottle_test_support::process::snapshot;
use bottle_test_support::pty::Pty;
use bottle_test_support::residue::{Leftover, Residue, Scope};
use bottle_test_support::tools::tool;
use bottle_test_support::warden::Ending;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A shell in the place of `bottle`.
fn shell() -> Bottle {
    Bottle::new("/bin/sh")
}

/// What the harness says of a run that it does not accept.
fn complaint<T>(run: impl FnOnce() -> T) -> String {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(_) => panic!("nothing was found"),
        Err(payload) => {
            payload.downcast_ref::<String>().cloned().or(payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap()
        }
    }
}

fn is_alive(pid: i32) -> bool {
    snapshot("").iter().any(|process| process.pid == pid && process.state != 'Z')
}

#[test]
fn a_run_is_compared_whole_with_its_paths_and_ids_replaced() {
    let bottle = shell().bottle("dev", "egress:\n  routes: []").agent("t", "bottle: dev", "Be brief.\n");
    let script = "mkdir -p $XDG_STATE_HOME/bottle/t-12/logs; echo x > $XDG_STATE_HOME/bottle/t-12/logs/agent.jsonl; \
                  echo $HOME t-12; echo $XDG_RUNTIME_DIR >&2; cat $XDG_CONFIG_HOME/bottle/*/*.md; exit 7";
    let said = "[HOME]/home [ID]\n---\nbottle: dev\n---\nBe brief.\n---\negress:\n  routes: []\n---\n";
    bottle.run(["-c", script]).expect(7, said, "[RUNTIME]\n");
    assert_eq!(bottle.run(["-c", "kill -9 $$"]).ending, Ending::Signal(9));
}

#[test]
fn what_is_new_on_the_machine_but_not_of_the_run_is_no_residue() {
    let Some(unshare) = tool("unshare") else { return };
    let mut stranger = Command::new(unshare).args(["-rn", "sleep", "300"]).stdout(Stdio::null()).spawn().unwrap();
    shell().run(["-c", "exit 0"]).expect(0, "", "");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn an_orphan_that_left_its_session_is_found_and_ended() {
    let script = "cd /; env -i setsid sleep 300 </dev/null >/dev/null 2>&1 & echo $!";
    let complaint = complaint(|| shell().run(["-c", script]));
    let line = complaint.lines().nth(1).unwrap();
    assert!(complaint.starts_with("the run left behind:\n") && line.ends_with(": sleep 300"), "{complaint}");
    let pid = line.trim_start().strip_prefix("process ").unwrap().split(':').next().unwrap().parse().unwrap();
    assert!(!is_alive(pid));
}

#[test]
fn the_leaked_first_process_of_a_pid_namespace_is_found() {
    if tool("unshare").is_none() {
        return;
    }
    let script = "cd /; env -i $(command -v unshare) -rpnf --mount-proc sleep 307 </dev/null >/dev/null 2>&1 & \
                  until ps -e -o args= | grep -qx 'sleep 307'; do :; done; kill -9 $!";
    let complaint = complaint(|| shell().run(["-c", script]));
    for part in [": sleep 307\n", "namespace pid:[", "namespace net:[", "namespace user:[", "namespace mnt:["] {
        assert!(complaint.contains(part), "{part} is not in {complaint}");
    }
}

#[test]
fn a_process_that_no_warden_knows_is_found_by_its_mark() {
    let directory = tempfile::Builder::new().prefix("bottle-mark-").rand_bytes(12).tempdir().unwrap();
    let marker = directory.path().file_name().unwrap().to_str().unwrap().to_owned();
    let residue = Residue::before(Scope { marker: marker.clone(), ..Scope::default() });
    let status = Command::new("/bin/sh")
        .args(["-c", "setsid sleep 300 </dev/null >/dev/null 2>&1 &"])
        .env("BOTTLE_TEST_RUN", directory.path())
        .status();
    assert!(status.unwrap().success());
    let is_it = |leftovers: Vec<Leftover>| match &leftovers[..] {
        [Leftover::Process { pid, command }] if command == "sleep 300" => Some(*pid),
        _ => None,
    };
    let pid = wait_until(TIMEOUT, || is_it(residue.leftovers())).expect("the process is found");
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    residue.assert_empty_after();
}

#[test]
fn a_file_is_residue_unless_it_is_kept_on_purpose() {
    let script = "mkdir -p $XDG_STATE_HOME/bottle/a/logs; touch $XDG_STATE_HOME/bottle/a/logs/x $XDG_STATE_HOME/bottle/a/key.pem $TMPDIR/t $XDG_RUNTIME_DIR/s";
    let bottle = shell();
    let complaint = complaint(|| bottle.run(["-c", script]));
    let [home, runtime] = [bottle.path().display(), bottle.runtime().display()];
    let expected = format!("the run left behind:\n  file {runtime}/s\n  file {home}/state/bottle/a/key.pem\n  file {home}/tmp/t");
    assert_eq!(complaint, expected);
    shell()
        .keeps("bottle/*/key.pem")
        .run(["-c", "mkdir -p $XDG_STATE_HOME/bottle/a; touch $XDG_STATE_HOME/bottle/a/key.pem"])
        .expect(0, "", "");
}

#[test]
fn a_socket_is_residue_even_after_its_file_is_gone() {
    let directory = tempfile::Builder::new().prefix("bottle-socket-").rand_bytes(12).tempdir().unwrap();
    let marker = directory.path().file_name().unwrap().to_str().unwrap().to_owned();
    let residue = Residue::before(Scope { marker, directories: vec![directory.path().into()], ..Scope::default() });
    let path = directory.path().join("s");
    let socket = UnixListener::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(residue.leftovers(), [Leftover::Socket(path.display().to_string())]);
    drop(socket);
    residue.assert_empty_after();
}

#[test]
fn a_mount_is_residue() {
    const INSIDE: &str = "BOTTLE_TEST_IN_MOUNT_NAMESPACE";
    if std::env::var_os(INSIDE).is_none() {
        // Mounting is done where it cannot concern the machine.
        let Some(unshare) = tool("unshare") else { return };
        let mut command = Command::new(unshare);
        command.args(["-rm", "--propagation", "private"]).arg(std::env::current_exe().unwrap());
        let output = command.args(["--exact", "a_mount_is_residue"]).env(INSIDE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let directory = tempfile::Builder::new().prefix("bottle-mount-").rand_bytes(12).tempdir().unwrap();
    let marker = directory.path().file_name().unwrap().to_str().unwrap().to_owned();
    let residue = Residue::before(Scope { marker, ..Scope::default() });
    let mount = |program: &str, arguments: &[&str]| {
        assert!(Command::new(program).args(arguments).arg(directory.path()).status().unwrap().success())
    };
    mount("mount", &["-t", "tmpfs", "planted"]);
    let left = residue.leftovers();
    mount("umount", &[]);
    assert!(matches!(&left[..], [Leftover::Mount(line)] if line.contains(" - tmpfs planted ")), "{left:?}");
    residue.assert_empty_after();
}

#[test]
fn a_terminal_that_is_not_restored_is_residue() {
    let bottle = shell();
    let run = bottle.at_terminal(["-c", "stty raw"], 80, 24);
    assert!(complaint(|| run.end()).contains("terminal modes"));
    let run = bottle.at_terminal(["-c", "old=$(stty -g); stty raw; stty $old"], 80, 24);
    assert_eq!(run.end(), (Ending::Code(0), Vec::new()));
}

#[test]
fn a_run_that_hangs_is_ended_and_what_it_said_is_shown() {
    let complaint = complaint(|| shell().patience(Duration::from_millis(300)).run(["-c", "echo begun; sleep 300"]));
    assert_eq!(complaint, "bottle did not end within 300ms\nstdout:\nbegun\n\nstderr:\n");
}

#[test]
fn a_secret_is_found_in_output_in_files_and_in_processes() {
    let canary = Canary::new("token");
    let clean = shell().secret("TOKEN", &canary);
    clean.run(["-c", "test -n \"$TOKEN\""]).expect(0, "", "");

    let said = complaint(|| clean.run(["-c", "printf %s \"$TOKEN\" | base64"]));
    assert!(said.contains("\"stdout\"") && said.contains("base64 at offset 0"), "{said}");
    let script = "mkdir -p $XDG_STATE_HOME/bottle/a/logs; echo $TOKEN > $XDG_STATE_HOME/bottle/a/logs/egress.jsonl";
    let written = complaint(|| clean.run(["-c", script]));
    assert!(written.contains("state/bottle/a/logs/egress.jsonl") && !written.contains(canary.value()), "{written}");

    let mut child = Command::new("sleep").arg("300").env("TOKEN", canary.value()).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let places =
        |allowed: &[i32]| sweep(std::slice::from_ref(&canary), &[], allowed).into_iter().map(|found| found.place).collect::<Vec<_>>();
    let seen = wait_until(TIMEOUT, || Some(places(&[])).filter(|places| !places.is_empty())).unwrap();
    let allowed = places(&[pid]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((seen, allowed), (vec![format!("/proc/{pid}/environ")], vec![]));
}

#[test]
fn a_run_has_the_user_and_the_environment_that_it_was_given_and_no_other() {
    let bottle = shell().as_user(65_534).env("EXTRA", "1");
    let user = if nix::unistd::geteuid().is_root() { 65_534 } else { nix::unistd::geteuid().as_raw() };
    let script = "id -u; touch $HOME/mine; env | cut -d= -f1 | sort | tr '\\n' ' '";
    let names = "BOTTLE_TEST_RUN EXTRA HOME LC_ALL PATH PWD TMPDIR TZ XDG_CACHE_HOME XDG_CONFIG_HOME XDG_RUNTIME_DIR XDG_STATE_HOME ";
    bottle.run(["-c", script]).expect(0, &format!("{user}\n{names}"), "");
}

#[test]
fn a_run_inherits_nothing_that_the_test_was_started_with() {
    const CARELESS: &str = "BOTTLE_TEST_STARTED_CARELESSLY";
    if std::env::var_os(CARELESS).is_none() {
        // As a job in the background of a script is: interrupts are ignored, and descriptors are left open.
        let script =
            "trap '' INT QUIT HUP; umask 077; exec 9</dev/null; exec \"$0\" --exact a_run_inherits_nothing_that_the_test_was_started_with";
        let output =
            Command::new("/bin/sh").args(["-c", script]).arg(std::env::current_exe().unwrap()).env(CARELESS, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let script = "umask; ls /proc/self/fd | tr '\\n' ' '; grep -E 'SigBlk|SigIgn' /proc/self/status | cut -f 2";
    let said = shell().run(["-c", script]).stdout;
    // The fourth descriptor is the listing's own.
    let masks = said.strip_prefix("0022\n0 1 2 3 ").unwrap_or_else(|| panic!("{said}"));
    let masks: Vec<u64> = masks.lines().map(|mask| u64::from_str_radix(mask, 16).unwrap()).collect();
    // Signals 32 and 33, bits 31 and 32, are the C library's own.
    assert_eq!(masks.iter().map(|mask| mask & !(0b11 << 31)).collect::<Vec<_>>(), [0, 0]);
}

#[test]
fn the_operator_types_resizes_and_interrupts() {
    let bottle = shell();
    let script = "stty size; trap 'stty size' WINCH; read line; echo got:$line; echo ready; while :; do sleep 0.01; done";
    let mut run = bottle.at_terminal(["-c", script], 100, 30);
    run.pty.wait_for("30 100", TIMEOUT).unwrap();
    run.pty.send(b"hello\r").unwrap();
    run.pty.wait_for("got:hello", TIMEOUT).unwrap();
    run.pty.wait_for("ready", TIMEOUT).unwrap();
    run.pty.resize(120, 40).unwrap();
    run.pty.wait_for("40 120", TIMEOUT).unwrap();
    assert!(is_alive(run.pid()));
    run.pty.send(b"\x03").unwrap();
    let (ending, screen) = run.end();
    assert_eq!(ending, Ending::Signal(2));
    let screen = String::from_utf8(screen).unwrap();
    assert_eq!(screen, "30 100\r\nhello\r\ngot:hello\r\nready\r\n40 120\r\n^C");
}

#[test]
fn what_is_not_seen_is_said() {
    let mut pty = Pty::open(80, 24).unwrap();
    let mut command = Command::new("printf");
    pty.control(command.arg("something else")).unwrap();
    let mut child = command.spawn().unwrap();
    drop(command);
    pty.leave();
    let missing = pty.wait_for("wanted", TIMEOUT).unwrap_err();
    assert_eq!(format!("{missing:?}"), "\"wanted\" was not seen when the terminal ended; instead: something else");
    assert_eq!(pty.read_to_end(TIMEOUT).unwrap(), b"something else");
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_catalogue_is_read_and_an_unknown_claim_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_bottle-cases")).args(arguments).output().unwrap();
    let catalogue = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases/catalogue.tsv");
    let (catalogue, sources) = (catalogue.to_str().unwrap(), directory.path().to_str().unwrap());

    std::fs::write(directory.path().join("a.rs"), concat!("// cov", "ers: L01 F20\n")).unwrap();
    let output = run(&[catalogue, sources]);
    let said = String::from_utf8(output.stdout).unwrap();
    let text = std::fs::read_to_string(catalogue).unwrap();
    let rows: Vec<&str> = text.lines().skip(1).collect();
    let blocking = rows.iter().filter(|row| row.contains("\tblocking\t")).count();
    let total = format!("all: 2 of {} covered, of {blocking} that block a release 2\n", rows.len());
    assert!(output.status.success() && said.ends_with(&total), "{said}");
    assert_eq!(run(&[catalogue, sources, "--strict"]).status.code(), Some(1));

    std::fs::write(directory.path().join("b.rs"), concat!("// cov", "ers: Q99\n")).unwrap();
    let output = run(&[catalogue, sources]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "error: Q99 is not in the catalogue: b.rs:1\n");
    assert_eq!(run(&["/nonexistent"]).status.code(), Some(1));
    assert_eq!(run(&["a", "b", "c"]).status.code(), Some(2));
}
