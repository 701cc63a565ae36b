//! A sidecar that neither works nor ends: it is named, nothing passes around it, and it may go on.

use std::fs;
use std::time::Duration;

use bottle_test_support::deadline::wait_until;
use bottle_test_support::run::OnPipes;
use rstest::rstest;
use serde_json::Value;

use crate::life::support::{User, component, program, send};
use crate::net::world::{NAME, World, users};

/// For what is noticed after some seconds, on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What was noted of the health of sidecars: the event, its level, and its message.
fn noted(world: &World) -> Vec<[String; 3]> {
    let timeline = fs::read_to_string(world.bottle.path().join(format!("state/bottle/{NAME}/timeline.jsonl"))).unwrap();
    let records = timeline.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |record: &Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
    records
        .filter(|record| matches!(record["event"].as_str(), Some("sidecar_silent" | "sidecar_answers")))
        .map(|record| ["event", "level", "message"].map(|key| text(&record, key)))
        .collect()
}

#[track_caller]
fn wait_for_notes(world: &World, count: usize) {
    wait_until(TIMEOUT, || (noted(world).len() >= count).then_some(())).unwrap_or_else(|| panic!("{:?}", noted(world)));
}

/// The name, the status and the reason in `bottle list`.
fn listed(world: &World) -> String {
    let done = world.bottle.beside(program(), ["list"]).output().expect("bottle runs");
    let list = String::from_utf8(done.stdout).expect("the list is text");
    let line = list.lines().nth(1).expect("a row");
    let row: Vec<&str> = line.split_whitespace().take(2).collect();
    let reason = line.split_once('(').map_or("-", |(_, reason)| reason.trim_end_matches(')'));
    format!("{} {reason}", row.join(" "))
}

// covers: L08
#[rstest]
fn a_sidecar_that_hangs_is_named_nothing_passes_around_it_and_it_may_go_on(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values("pipelock", "egress")] sidecar: &str,
) {
    let user = if user == User::Caller { None } else { users().pop().flatten() };
    let world = World::new(user).route("hang.test", "").ready("provider: shell");
    let ask = "curl -s -m 2 -o /dev/null https://hang.test/echo";
    let script = format!("{ask} && echo works; while {ask}; do sleep 0.1; done; echo hangs; until {ask}; do sleep 0.1; done; echo goes on");
    let run: OnPipes<'_> = world.bottle.start(["start", NAME, "--yes", "--headless", "--", "/bin/sh", "-c", &script]);
    run.said("works\n");
    assert_eq!(listed(&world), format!("{NAME} running -"));

    let stopped = component(run.pid(), &format!("bottle-{sidecar}"));
    send(stopped, libc::SIGSTOP);
    run.said("works\nhangs\n");
    let before = world.since(0).len();
    wait_for_notes(&world, 1);
    assert_eq!(listed(&world), format!("{NAME} running {sidecar} does not respond"));
    assert_eq!(world.since(before), []);

    send(stopped, libc::SIGCONT);
    wait_for_notes(&world, 2);
    run.end().expect(0, "works\nhangs\ngoes on\n", "");
    let silent = format!("{sidecar}: it has not answered for 10 s; what asks it waits, and nothing passes around it");
    let answers = format!("{sidecar}: it answers again");
    assert_eq!(noted(&world), [["sidecar_silent", "warn", &silent], ["sidecar_answers", "info", &answers]]);
}
