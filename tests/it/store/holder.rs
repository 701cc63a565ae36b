//! A lock that outlives its supervisor: who keeps it is named, and ended only if it is certainly a copy of bottle.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use bottle::commands::{Format, cleanup, list, stop};
use bottle::store::{Bottles, Claim, Status};
use rustix::fs::{FlockOperation, flock};

use crate::store::{Home, id};
use crate::support::{child, layout, place};

/// A process that the test ends, if nobody else has.
struct Copy(u32);

impl Drop for Copy {
    fn drop(&mut self) {
        if !has_ended(self.0) {
            crate::support::kill(self.0);
        }
    }
}

/// A bottle whose supervisor has ended and left a copy of itself, with the copy's number.
fn orphaned(home: &Home) -> Copy {
    let mut supervisor = child("store::holder::child_leaves_a_copy")
        .env("BOTTLE_TEST_PLACE", home.disk.path())
        .env("BOTTLE_TEST_MEMORY", home.memory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(supervisor.stdout.take().unwrap()).lines();
    let copy = lines.find_map(|line| line.unwrap().strip_prefix("left ").map(|pid| pid.parse().unwrap()));
    supervisor.wait().unwrap();
    Copy(copy.unwrap())
}

#[test]
#[ignore = "run by the tests of this file"]
#[expect(clippy::print_stdout, reason = "tells the parent")]
fn child_leaves_a_copy() {
    let memory = PathBuf::from(std::env::var_os("BOTTLE_TEST_MEMORY").unwrap());
    let _claim = Claim::new(&layout(&place(), &memory), "web", None).unwrap();
    match bottle_init::sys::fork().unwrap() {
        None => loop {
            std::thread::park();
        },
        Some(pid) => println!("\nleft {}", pid.as_raw_nonzero()),
    }
    std::process::exit(0);
}

fn said(command: impl FnOnce(&mut dyn std::io::Write) -> bottle::error::Result<u8>) -> (u8, String) {
    let mut out = Vec::new();
    let code = command(&mut out).unwrap_or_else(|error| {
        out.extend(error.to_string().into_bytes());
        error.code
    });
    (code, String::from_utf8(out).unwrap())
}

fn is_free(home: &Home) -> bool {
    flock(File::open(home.state("web").join("lock")).unwrap(), FlockOperation::NonBlockingLockExclusive).is_ok()
}

fn has_ended(pid: u32) -> bool {
    // It is nobody's child here, and may wait for the machine's first process.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z ")) || bottle::store::start_time(pid).is_none()
}

// covers: I03
#[test]
fn a_copy_of_a_supervisor_that_keeps_the_lock_is_named_and_ended() {
    for command in ["stop", "cleanup"] {
        let home = Home::new();
        let orphan = orphaned(&home);
        let copy = orphan.0;
        let held = Bottles::find(&home.layout, &id("web")).unwrap().unwrap();
        assert!(matches!(&held.status, Status::Held(holders) if holders.len() == 1 && holders[0].pid == copy), "{:?}", held.status);
        let (code, text) = said(|out| list::run(&list::Args { format: Format::Text }, &home.layout, out));
        let sentence = format!("its supervisor has exited, but process {copy} is left: `bottle cleanup` kills it\n");
        assert!(code == 0 && text.contains("web   held ") && text.contains(sentence.trim_end()), "{text}");
        assert!(!is_free(&home) && !has_ended(copy));
        let (code, text) = match command {
            "stop" => said(|out| stop::run(&stop::Args { id: "web".into(), now: false }, &home.layout, out)),
            _ => said(|out| {
                cleanup::run(
                    &cleanup::Args { dry_run: false, all: false, force: false, older_than: None, backend: None },
                    &home.layout,
                    out,
                )
            }),
        };
        let expected = if command == "stop" { "web has stopped\n" } else { "removed the leftovers of web\n" };
        assert_eq!((code, text.as_str()), (0, expected));
        assert!(has_ended(copy) && is_free(&home), "{command}");
        let status = if command == "stop" { Status::Crashed } else { Status::Ended };
        assert_eq!(home.statuses(), [("web".into(), status)]);
    }
}

/// Ends a process of the test's.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// covers: I03
#[test]
fn a_strangers_program_that_keeps_the_lock_is_named_and_left_alone() {
    if !crate::support::has("flock") {
        return;
    }
    let home = Home::new();
    // Its supervisor is not this process, whose number the claim records.
    let copy = orphaned(&home);
    let ended = cleanup::run(
        &cleanup::Args { dry_run: false, all: false, force: false, older_than: None, backend: None },
        &home.layout,
        &mut Vec::new(),
    )
    .unwrap();
    assert!(ended == 0 && has_ended(copy.0));
    let mut stranger = Command::new("sh");
    stranger.args(["-c", "exec 9<\"$0\" && flock 9 && echo locked && exec sleep 1000"]).arg(home.state("web").join("lock"));
    let mut stranger = Ended(stranger.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(stranger.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pid = stranger.0.id();
    let stopped = said(|out| stop::run(&stop::Args { id: "web".into(), now: false }, &home.layout, out));
    let expected = format!(
        "error: process {pid} holds the lock of a bottle that has exited\ncause: it runs another program, so bottle does not kill it\n\
         hint:  check what it is, then `kill {pid}`"
    );
    assert_eq!(stopped, (125, expected));
    let cleaned = said(|out| {
        cleanup::run(&cleanup::Args { dry_run: false, all: false, force: false, older_than: None, backend: None }, &home.layout, out)
    });
    assert_eq!(cleaned, (125, String::new()));
    assert!(!has_ended(pid));
}

// covers: I03 K08
#[test]
fn a_bottle_that_somebody_cleans_up_is_not_taken_for_one_that_a_copy_keeps() {
    let home = Home::new();
    let copy = orphaned(&home);
    Bottles::find(&home.layout, &id("web")).unwrap().unwrap().end_remains().unwrap();
    assert!(has_ended(copy.0));
    let bottle::store::Takeover::Dead(claim) = Claim::take_over(&home.layout, &id("web")).unwrap() else { panic!() };
    assert_eq!(home.statuses(), [("web".into(), Status::Running)]);
    drop(claim);
    assert_eq!(home.statuses(), [("web".into(), Status::Crashed)]);
}
