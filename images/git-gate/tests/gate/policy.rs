//! The ref policy, asked by real git.

use std::process::Stdio;

use bottle_contract::gate::PushPolicy;
use bottle_test_support::deadline::wait_until;

use crate::support::*;

// covers: G01
#[test]
fn what_the_policy_does_not_allow_leaves_upstream_as_it_was() {
    let world = World::new();
    let tree = world.clone_named("work");
    let main = tree.head();
    tree.commit("work");
    tree.push(&["HEAD:refs/heads/agent/x"]).is_taken();
    run(tree.git().args(["tag", "-a", "agent-1", "-m", "one"]));
    tree.push(&["agent-1"]).is_taken();
    let before = world.refs();
    tree.commit("more");
    run(tree.git().args(["tag", "-f", "-a", "agent-1", "-m", "two"]));
    for (words, why) in [
        (vec!["HEAD:main"], "no pattern"),
        (vec!["+HEAD:main"], "no pattern"),
        (vec!["--force", "HEAD:refs/heads/main"], "no pattern"),
        (vec![":main"], "no pattern"),
        (vec!["--delete", "agent/x"], "may not delete"),
        (vec![":refs/heads/agent/x"], "may not delete"),
        (vec!["HEAD:refs/pull/1/head"], "no pattern"),
        (vec!["HEAD:refs/notes/commits"], "no pattern"),
        (vec!["HEAD:refs/replace/1111111111111111111111111111111111111111"], "no pattern"),
        (vec!["HEAD:refs/meta/config"], "no pattern"),
        (vec!["HEAD:refs/heads/Agent/x"], "no pattern"),
        (vec!["HEAD:refs/tags/v1"], "no pattern"),
        (vec!["--force", "agent-1"], "may not be moved"),
        (vec!["--force", &format!("{main}:refs/heads/agent/x")], "may not force"),
        (vec!["HEAD:refs/heads/agent/X"], "differs in case"),
        (vec!["HEAD:refs/heads/agent/y", "HEAD:main"], "another part of this push"),
        (vec!["--atomic", "HEAD:refs/heads/agent/y", "HEAD:main"], "no pattern"),
        (vec!["--mirror"], "ref_not_allowed"),
        (vec!["--all", "--force"], "no pattern"),
    ] {
        tree.push(&words).is_refused_with(why);
        assert_eq!(world.refs(), before, "{words:?}");
    }
    assert!(world.gate.events("push").iter().skip(2).all(|event| event.reason.is_some()));
}

// covers: G01
#[test]
fn a_symbolic_ref_upstream_is_not_a_way_to_what_it_leads_to() {
    let world = World::new();
    run(git(&world.upstream()).args(["symbolic-ref", "refs/heads/agent/door", "refs/heads/main"]));
    let tree = world.clone_named("work");
    tree.commit("work");
    let before = world.refs();
    tree.push(&["HEAD:refs/heads/agent/door"]).is_refused_with("symbolic ref");
    assert_eq!(world.refs(), before);
}

#[test]
fn what_the_policy_allows_is_done() {
    let policy = PushPolicy { allow: vec!["refs/heads/*".into()], force: true, delete: true, ..PushPolicy::default() };
    let world = World::with(WorldOptions { policy, ..WorldOptions::default() });
    let tree = world.clone_named("work");
    let main = tree.head();
    let work = tree.commit("work");
    tree.push(&["HEAD:main", "HEAD:refs/heads/x"]).is_taken();
    tree.push(&["--force", &format!("{main}:refs/heads/x")]).is_taken();
    assert_eq!(world.refs(), [format!("refs/heads/main {work}"), format!("refs/heads/x {main}")]);
    tree.push(&["--delete", "x"]).is_taken();
    assert_eq!(world.refs(), [format!("refs/heads/main {work}")]);
}

// covers: G01
#[test]
fn a_thousand_refs_are_one_push() {
    let world = World::new();
    let tree = world.clone_named("work");
    let head = tree.commit("work");
    let mut update = tree.git().args(["update-ref", "--stdin"]).stdin(Stdio::piped()).spawn().unwrap();
    let lines: String = (0..1000).map(|n| format!("create refs/heads/agent/n{n} {head}\n")).collect();
    std::io::Write::write_all(&mut update.stdin.take().unwrap(), lines.as_bytes()).unwrap();
    assert!(update.wait().unwrap().success());
    tree.push(&["refs/heads/agent/*:refs/heads/agent/*"]).is_taken();
    assert_eq!(world.refs().len(), 1001);
}

// covers: G02
#[test]
fn of_two_pushers_one_is_told_to_fetch_first() {
    let world = World::new();
    let (one, two) = (world.clone_named("one"), world.clone_named("two"));
    one.commit("one");
    two.commit("two");
    one.push(&["HEAD:refs/heads/agent/x"]).is_taken();
    let taken = world.refs();
    // Git itself would notice; a client that lies about what it knows must not get through either.
    let old = run(two.git().args(["rev-parse", "HEAD~1"]));
    let new = two.head();
    for command in [format!("{} {new} refs/heads/agent/x", crate::raw::NULL), format!("{old} {new} refs/heads/agent/x")] {
        let answer =
            crate::raw::asked(&world, "POST /app.git/git-receive-pack", &crate::raw::push_request(&[command], &crate::raw::pack(&[])));
        assert!(answer.contains("fetch first"), "{answer}");
    }
    let lease = format!("--force-with-lease=agent/x:{old}");
    two.push(&[&lease, "HEAD:refs/heads/agent/x"]).is_refused_with("stale");
    assert_eq!(world.refs(), taken);
}

// covers: G02
#[test]
fn a_fast_forward_over_commits_that_upstream_has_is_one() {
    let world = World::new();
    run(git(&world.upstream()).args(["config", "uploadpack.allowFilter", "true"]));
    let tree = world.clone_named("work");
    let base = tree.head();
    tree.push(&["HEAD:refs/heads/agent/x"]).is_taken();
    // Somebody else's work lands upstream, not through the gate.
    tree.commit("one");
    let main = tree.commit("two");
    run(tree.git().args(["push", "-q"]).arg(world.upstream()).arg("HEAD:main"));
    run(tree.git().args(["fetch", "-q", "origin"]));
    tree.push(&["HEAD:refs/heads/agent/x"]).is_taken();
    assert!(world.refs().contains(&format!("refs/heads/agent/x {main}")));
    // And back again it is none, though upstream has both.
    tree.push(&["--force", &format!("{base}:refs/heads/agent/x")]).is_refused_with("may not force");
}

// covers: G20
#[test]
fn work_in_anothers_name_is_refused_and_made_again_it_passes() {
    let policy = PushPolicy {
        allow: vec!["refs/heads/agent/*".into(), "refs/tags/agent-*".into()],
        committer: Some("Ann <ann@work.test>".into()),
        ..PushPolicy::default()
    };
    let world = World::with(WorldOptions { policy, ..WorldOptions::default() });
    let tree = world.clone_named("work");
    let before = world.refs();
    tree.write("file", "work");
    run(tree.git().args(["add", "file"]));
    for (name, email) in [("Operator", "ann@work.test"), ("Ann", "operator@work.test"), ("Ann\u{200b}", "ann@work.test")] {
        let commit = ["commit", "-q", "--allow-empty", "-m", "forged"];
        run(tree.git().env("GIT_COMMITTER_NAME", name).env("GIT_COMMITTER_EMAIL", email).args(commit));
        tree.commit("on top of it");
        tree.push(&["HEAD:refs/heads/agent/x"]).is_refused_with("committer_not_allowed");
        assert_eq!(world.refs(), before, "{name} <{email}>");
        run(tree.git().args(["rebase", "-q", "--force-rebase", "origin/main"]));
    }
    run(tree.git().env("GIT_COMMITTER_NAME", "Operator").args(["tag", "-a", "agent-1", "-m", "one"]));
    tree.push(&["agent-1"]).is_refused_with("committer_not_allowed");
    assert_eq!(world.refs(), before);
    tree.push(&["HEAD:refs/heads/agent/x"]).is_taken();
}

// covers: G17
#[test]
fn what_was_checked_is_what_goes_whatever_the_agent_pushes_meanwhile() {
    let policy = PushPolicy { allow: vec!["refs/heads/agent/*".into()], force: true, ..PushPolicy::default() };
    let world = World::with(WorldOptions { policy, ..WorldOptions::default() });
    let tree = world.clone_named("work");
    let before = world.refs();
    let checked = tree.commit("checked");
    // Upstream has the whole push, and has not taken it yet.
    let (reached, go) = (world.upstream().join("reached"), world.upstream().join("go"));
    let hook = world.upstream().join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    let waits = format!("#!/bin/sh\ntouch '{}'\nwhile ! [ -e '{}' ]; do sleep 0.05; done\n", reached.display(), go.display());
    std::fs::write(&hook, waits).unwrap();
    run(std::process::Command::new("chmod").arg("755").arg(&hook));
    let mut push = tree.git().args(["push", "-q", "origin", "HEAD:refs/heads/agent/x"]).stderr(Stdio::null()).spawn().unwrap();
    wait_until(TIMEOUT, || reached.exists().then_some(())).expect("the push reaches upstream");
    tree.write("token", secret());
    tree.commit("swapped");
    tree.push(&["--force", "HEAD:refs/heads/agent/x"]).is_refused_with("secret_detected");
    std::fs::write(go, "").unwrap();
    assert!(push.wait().unwrap().success());
    assert_eq!(world.refs(), [&[format!("refs/heads/agent/x {checked}")], &before[..]].concat());
    world.has_not_leaked(&secret());
}
