//! `bottle doctor` on this host, and on one that gives less.

use std::path::Path;

use bottle_test_support::bottle::Bottle;
use bottle_test_support::run::Ended;
use bottle_test_support::tools::tool;
use bottle_test_support::warden::Ending;
use serde_json::Value;

use crate::net::world::{NAME, World, users};

/// A user namespace in which no further one can be made, and in it the program that follows.
const WEAK: &str = "echo 0 >/proc/sys/user/max_user_namespaces; exec \"$@\"";

fn states(ended: &Ended) -> Vec<(String, bool)> {
    let said: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}{}", ended.stdout, ended.stderr));
    let rows = said["checks"].as_array().expect("a list of checks");
    rows.iter().map(|row| (row["name"].as_str().unwrap_or_default().to_owned(), row["state"] == "ok")).collect()
}

/// Bottle on a host without nested user namespaces.
fn weak(user: Option<u32>) -> Option<Bottle> {
    let bottle = Bottle::new(tool("unshare")?);
    Some(match user {
        Some(user) => bottle.as_user(user),
        None => bottle,
    })
}

fn through_weak(arguments: &[&str]) -> Vec<String> {
    let program = env!("CARGO_BIN_EXE_bottle");
    let all = [&["--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "/bin/sh", "-c", WEAK, "sh", program], arguments].concat();
    all.into_iter().map(str::to_owned).collect()
}

#[test]
fn where_bottles_start_the_doctor_finds_all_that_is_required() {
    for user in users() {
        let world = World::new(user).ready("provider: shell");
        let text = world.bottle.run(["doctor"]);
        assert_eq!((text.ending, &*text.stderr), (Ending::Code(0), ""), "{}", text.stdout);
        let found = states(&world.bottle.run(["doctor", "--format", "json"]));
        let names = [
            "clone3",
            "user namespaces",
            "loopback interface",
            "mount API",
            "own /proc",
            "overlayfs",
            "seccomp",
            "landlock",
            "control group",
            "directory in memory",
            "sidecar egress",
            "sidecar pipelock",
            "sidecar git-gate",
            "sidecar supervise",
        ];
        let (of_host, of_agents) = found.split_at(names.len());
        assert_eq!(of_host.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
        assert!(of_agents.iter().any(|(name, _)| name == "claude"), "{of_agents:?}");
        assert!(of_agents.iter().any(|(name, _)| name == "CLAUDE_CODE_OAUTH_TOKEN"), "{of_agents:?}");
        let word = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
        let words: Vec<String> = text.stdout.lines().map(word).filter(|word| word == "ok" || word == "missing").collect();
        assert_eq!(words, found.iter().map(|(_, ok)| if *ok { "ok" } else { "missing" }).collect::<Vec<_>>());
        assert!(text.stdout.lines().last().is_some_and(|line| line.starts_with("ready")), "{}", text.stdout);
        // The same answers as a start gives.
        assert_eq!(world.said("echo started"), "started\n");
    }
}

// covers: R18
#[test]
fn a_host_without_user_namespaces_is_named_and_nothing_starts_there() {
    for user in users() {
        let Some(bottle) = weak(user) else { return };
        let doctor = bottle.run(through_weak(&["doctor"]));
        assert_eq!((doctor.ending, &*doctor.stderr), (Ending::Code(1), ""), "{}", doctor.stdout);
        let found = doctor.stdout.split("missing  user namespaces").nth(1).unwrap_or_else(|| panic!("{}", doctor.stdout));
        let found = found.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(found.contains("user.max_user_namespaces is 0 lost: no bottle can start fix: "), "{found}");
        let verdict = doctor.stdout.lines().last().unwrap_or_default();
        assert!(verdict.starts_with("not ready: ") && verdict.contains("user namespaces"), "{verdict}");
        let start = bottle
            .bottle(NAME, "workspace: none")
            .agent(NAME, &format!("bottle: {NAME}\nprovider: shell"), "")
            .run(through_weak(&["start", NAME, "--yes", "--headless", "--", "/bin/true"]));
        assert_eq!((start.ending, &*start.stdout), (Ending::Code(125), ""), "{}", start.stderr);
        assert!(
            start.stderr.starts_with("error: cannot start `agent`: make its namespaces\ncause: ") && start.stderr.contains("bottle doctor"),
            "{}",
            start.stderr
        );
    }
}

// covers: R18 W33
#[test]
fn a_missing_sidecar_is_named_by_the_doctor_and_refused_by_start() {
    for user in users() {
        let world = World::new(user).ready("provider: shell").env("BOTTLE_LIBEXEC", Path::new("/nowhere"));
        let doctor = world.bottle.run(["doctor"]);
        assert_eq!(doctor.ending, Ending::Code(1));
        for name in ["egress", "pipelock", "git-gate", "supervise"] {
            let found = doctor.stdout.split(&format!("missing  sidecar {name} ")).nth(1).unwrap_or_else(|| panic!("{}", doctor.stdout));
            assert!(found.trim_start().starts_with(&format!("/nowhere/bottle-{name}: No such file")), "{found}");
        }
        assert!(doctor.stdout.ends_with("\nnot ready: sidecar egress, sidecar pipelock\n"), "{}", doctor.stdout);
        let start = world.sh("true");
        assert_eq!((start.ending, &*start.stdout), (Ending::Code(125), ""));
        assert!(start.stderr.starts_with("error: the program of `pipelock` is not installed\n"), "{}", start.stderr);
    }
}
