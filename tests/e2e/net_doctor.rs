//! `bottle doctor` on this host, and on one that gives less.

use std::path::Path;

use bottle_test_support::bottle::Bottle;
use bottle_test_support::run::Ended;
use bottle_test_support::tools::tool;
use bottle_test_support::warden::Ending;
use serde_json::Value;

use crate::net_world::{NAME, World, users};

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
            "sidecar programs",
            "claude",
        ];
        assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
        assert_eq!(
            text.stdout.lines().map(|line| line.starts_with("ok ")).collect::<Vec<_>>(),
            found.iter().map(|(_, ok)| *ok).collect::<Vec<_>>()
        );
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
        assert_eq!((doctor.ending, &*doctor.stderr), (Ending::Code(125), ""), "{}", doctor.stdout);
        let line =
            doctor.stdout.lines().find(|line| line.starts_with("missing  user namespaces")).unwrap_or_else(|| panic!("{}", doctor.stdout));
        assert!(line.contains("user.max_user_namespaces is 0; lost: no bottle can start; fix: "), "{line}");
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

// covers: R18
#[test]
fn a_missing_sidecar_is_named_by_the_doctor_and_refused_by_start() {
    for user in users() {
        let world = World::new(user).ready("provider: shell").env("BOTTLE_LIBEXEC", Path::new("/nowhere"));
        let doctor = world.bottle.run(["doctor"]);
        assert_eq!(doctor.ending, Ending::Code(125));
        assert!(doctor.stdout.contains("missing  sidecar programs     /nowhere/bottle-pipelock: No such file"), "{}", doctor.stdout);
        let start = world.sh("true");
        assert_eq!((start.ending, &*start.stdout), (Ending::Code(125), ""));
        assert!(start.stderr.starts_with("error: the program of `pipelock` is not installed\n"), "{}", start.stderr);
    }
}
