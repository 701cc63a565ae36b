//! Sidecars that do not start as they should: the agent never runs, and the start says which and why.

use std::fs;
use std::path::{Path, PathBuf};

use bottle_test_support::bottle::Bottle;
use bottle_test_support::shim;
use bottle_test_support::warden::Ending;
use rstest::rstest;
use serde_json::Value;

use crate::life::support::{User, program, routed};

/// A directory of sidecars, one of which is replaced.
fn libexec(bottle: &Bottle, sidecar: &str, with: impl Fn(&PathBuf)) -> PathBuf {
    let directory = bottle.path().join("libexec");
    fs::create_dir(&directory).unwrap();
    for name in ["egress", "pipelock"].map(|name| format!("bottle-{name}")) {
        let path = directory.join(&name);
        if name.ends_with(sidecar) {
            with(&path);
        } else {
            fs::hard_link(program().with_file_name(&name), &path)
                .or_else(|_| fs::copy(program().with_file_name(&name), &path).map(drop))
                .unwrap();
        }
    }
    directory
}

// covers: L09
#[rstest]
fn a_sidecar_that_cannot_start_fails_the_start_before_the_agent_runs(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values("pipelock", "egress")] sidecar: &str,
    #[values("empty", "truncated", "missing", "not executable", "a directory")] fault: &str,
) {
    let bottle = routed(user.bottle());
    let directory = libexec(&bottle, sidecar, |path| match fault {
        "empty" => fs::write(path, "").unwrap(),
        "truncated" => fs::write(path, &fs::read(program()).unwrap()[..4096]).unwrap(),
        "missing" => {}
        "not executable" => fs::write(path, "#!/bin/sh\n").unwrap(),
        _ => fs::create_dir(path).unwrap(),
    });
    let bottle = bottle.env("BOTTLE_LIBEXEC", &directory);
    let ended = bottle.run(["start", "routed", "--yes", "--", "sh", "-c", "touch /workspace/ran; echo ran"]);
    let starts: Vec<&str> = ended.stderr.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        (ended.ending, ended.stdout.as_str(), &starts[..]),
        (Ending::Code(125), "", &["error:", "cause:", "hint:"][..]),
        "{ended:?}"
    );
    assert!(ended.stderr.contains(&format!("`{sidecar}`")), "{}", ended.stderr);
}

// covers: L06 L09
#[rstest]
fn a_sidecar_that_does_not_say_that_it_serves_fails_the_start_and_is_named(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values("pipelock", "egress")] sidecar: &str,
    #[values("exit", "mute", "babble")] behaviour: &str,
) {
    does_not_serve(user, sidecar, behaviour);
}

// covers: L06
#[rstest]
fn a_sidecar_that_says_nothing_fails_the_start_in_time_and_is_named(#[values("pipelock", "egress")] sidecar: &str) {
    does_not_serve(User::Ordinary, sidecar, "silent");
}

#[track_caller]
fn does_not_serve(user: User, sidecar: &str, behaviour: &str) {
    let bottle = routed(user.bottle());
    let directory = libexec(&bottle, sidecar, |path| shim::make(path, behaviour));
    let bottle = bottle.env("BOTTLE_LIBEXEC", &directory);
    let ended = bottle.run(["start", "routed", "--yes", "--", "sh", "-c", "echo ran"]);
    let last_words = format!("`bottle logs routed {sidecar}` shows its last words");
    let (what, cause, hint) = match behaviour {
        "exit" => (format!("`{sidecar}` exited before it was ready"), "it exited with code 3", last_words),
        "silent" => (format!("{sidecar} did not get ready in time"), "30s have passed", "its log is kept: `bottle logs`".to_owned()),
        _ => (format!("`{sidecar}` does not serve"), "it closed its readiness descriptor without a word", last_words),
    };
    let stderr = format!("error: {what}\ncause: {cause}\nhint:  {hint}\n");
    assert_eq!((ended.ending, ended.stdout.as_str(), ended.stderr.replace("[ID]", "routed")), (Ending::Code(125), "", stderr));
    // Started once: nothing is restarted behind the operator's back.
    let log = fs::read_to_string(bottle.path().join(format!("state/bottle/routed/logs/{sidecar}.jsonl"))).unwrap();
    assert_eq!(log.matches("shim: ").count(), 1, "{log}");
}

/// When a component wrote a line, by its log.
fn time_of(logs: &Path, component: &str, text: &str) -> String {
    let log = fs::read_to_string(logs.join(format!("{component}.jsonl"))).unwrap();
    let records = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let times: Vec<String> =
        records.filter(|record| record["text"] == text).map(|record| record["time"].as_str().unwrap().to_owned()).collect();
    let [time] = &times[..] else { panic!("{log}") };
    time.clone()
}

// covers: L04
#[rstest]
fn the_agent_does_not_run_before_every_sidecar_serves(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values("pipelock", "egress")] sidecar: &str,
) {
    let bottle = routed(user.bottle());
    let directory = libexec(&bottle, sidecar, |path| shim::make(path, "late"));
    let bottle = bottle.env("BOTTLE_LIBEXEC", &directory);
    let ended = bottle.run(["start", "routed", "--yes", "--", "sh", "-c", "echo ran; exit 6"]);
    assert_eq!((ended.ending, ended.stdout.as_str(), ended.stderr.as_str()), (Ending::Code(6), "ran\n", ""));
    let logs = bottle.path().join("state/bottle/routed/logs");
    let (served, ran) = (time_of(&logs, sidecar, "shim: serves now"), time_of(&logs, "agent", "ran"));
    assert!(served <= ran, "{served} {ran}");
}

#[rstest]
fn what_a_sidecar_reported_last_stands_in_the_timeline_before_its_end(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values("pipelock", "egress")] sidecar: &str,
) {
    let bottle = routed(user.bottle());
    let directory = libexec(&bottle, sidecar, |path| shim::make(path, "last words"));
    let bottle = bottle.env("BOTTLE_LIBEXEC", &directory);
    let ended = bottle.run(["start", "routed", "--yes", "--", "sh", "-c", "sleep 30"]);
    assert_eq!((ended.ending, ended.stdout.as_str()), (Ending::Code(125), ""), "{ended:?}");
    let timeline = fs::read_to_string(bottle.path().join("state/bottle/routed/timeline.jsonl")).unwrap();
    let records = timeline.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let messages: Vec<String> = records
        .filter(|record| record["component"] == sidecar || record["event"] == "sidecar_ended")
        .map(|record| record["message"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        messages,
        ["the first word".to_owned(), "the last word".to_owned(), format!("{sidecar}: it exited with code 3")],
        "{timeline}"
    );
}
