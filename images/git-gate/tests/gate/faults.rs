//! The gate is killed, upstream is lost, the quarantine is full: upstream stays as it was, or is changed by exactly one
//! approved push.

use std::io::{Read, Write};
use std::net::TcpStream;

use bottle_git_gate::pkt;
use serde_json::json;

use crate::raw::{NULL, push_request};
use crate::support::*;

/// A branch of some megabytes that do not compress.
fn work(world: &World, name: &str, megabytes: usize) -> Tree {
    let tree = world.clone_named(name);
    let mut bytes = vec![0; megabytes << 20];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    tree.write("data.bin", bytes);
    run(tree.git().args(["config", "core.compression", "0"]));
    tree.commit("data");
    tree
}

/// Starts the gate anew, and points the tree to it.
fn again(world: &mut World, tree: &Tree) -> Tree {
    world.gate = Gate::spawn(world.directory.path());
    run(tree.git().args(["remote", "set-url", "origin", &world.url()]));
    Tree::at(tree.path.clone(), world.gate.port)
}

// covers: G15
#[test]
fn a_gate_that_is_killed_in_the_middle_of_a_pack_has_changed_nothing() {
    let mut world = World::new();
    let tree = work(&world, "work", 4);
    let before = world.refs();
    let pack = run_bytes(tree.git().args(["pack-objects", "--all", "--stdout", "-q"]).stdin(std::process::Stdio::null()));
    let request = push_request(&[format!("{NULL} {} refs/heads/agent/x", tree.head())], &pack);
    for part in [200, request.len() / 2, request.len() - 1] {
        let mut stream = TcpStream::connect(("127.0.0.1", world.gate.port)).unwrap();
        let head = "POST /app.git/git-receive-pack HTTP/1.1\r\nHost: git-gate:9420\r\nContent-Length: ";
        stream.write_all(format!("{head}{}\r\n\r\n", request.len()).as_bytes()).unwrap();
        stream.write_all(&request[..part]).unwrap();
        // Its first words say that it has read the commands.
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        world.gate.kill();
        assert_eq!(world.refs(), before);
        again(&mut world, &tree);
    }
    let tree = again(&mut world, &tree);
    tree.push(&["HEAD:refs/heads/agent/x"]).is_taken();
    world.has_not_leaked(&secret());
}

// covers: G15
#[test]
fn a_gate_that_is_killed_while_it_sends_has_changed_nothing_or_all() {
    let mut world = World::new();
    let mut tree = work(&world, "work", 8);
    let before = world.refs();
    for _ in 0..3 {
        let mut push =
            tree.git().args(["push", "-q", "origin", "HEAD:refs/heads/agent/x"]).stderr(std::process::Stdio::null()).spawn().unwrap();
        world.gate.event("push_allowed", 1);
        world.gate.kill();
        let told = push.wait().unwrap().success();
        let after = world.refs();
        let done = format!("refs/heads/agent/x {}", tree.head());
        assert!(after == before || after.contains(&done), "{after:?}");
        assert!(!told || after.contains(&done), "the client was told of what did not happen");
        run(git(&world.upstream()).args(["fsck", "--strict", "--no-dangling"]));
        tree = again(&mut world, &tree);
        run(git(&world.upstream()).args(["update-ref", "-d", "refs/heads/agent/x"]));
    }
    tree.push(&["HEAD:refs/heads/agent/x"]).is_taken();
}

// covers: G15
#[test]
fn a_gate_that_is_killed_at_any_instant_of_a_push_has_changed_nothing_or_all() {
    let mut world = World::new();
    let mut tree = work(&world, "work", 2);
    let before = world.refs();
    let started = std::time::Instant::now();
    tree.push(&["HEAD:refs/heads/agent/x"]).is_taken();
    let whole = started.elapsed();
    let head = tree.head();
    let allowed = |name: &String| before.contains(name) || (name.starts_with("refs/heads/agent/x") && name.ends_with(&head));
    for part in 0..16 {
        // A name for each: upstream may still be taking what it has when it is looked at.
        let name = format!("refs/heads/agent/x{part}");
        let mut push =
            tree.git().args(["push", "-q", "origin", &format!("HEAD:{name}")]).stderr(std::process::Stdio::null()).spawn().unwrap();
        // The instant is what this is about.
        std::thread::park_timeout(whole * part / 16);
        world.gate.kill();
        let told = push.wait().unwrap().success();
        let after = world.refs();
        assert!(after.iter().all(allowed) && before.iter().all(|name| after.contains(name)), "after {part}/16: {after:?}");
        assert!(!told || after.contains(&format!("{name} {head}")), "the client was told of what did not happen, after {part}/16");
        run(git(&world.upstream()).args(["fsck", "--strict", "--no-dangling"]));
        tree = again(&mut world, &tree);
    }
    tree.push(&["HEAD:refs/heads/agent/again"]).is_taken();
}

// covers: G14
#[test]
fn a_lost_upstream_is_an_error_and_never_a_stale_answer() {
    let world = World::new();
    let tree = work(&world, "work", 2);
    let before = world.refs();
    let names = std::mem::take(&mut *world.map.names.lock().unwrap());
    for words in [vec!["fetch", "origin"], vec!["ls-remote", "origin"], vec!["push", "origin", "HEAD:refs/heads/agent/x"]] {
        Pushed::of(tree.git().args(&words)).is_refused_with("upstream_unreachable");
    }
    *world.map.names.lock().unwrap() = names;
    // It is lost when so much has gone up: at the handshake, in the commands, within the pack, before its end.
    for after in [100, 2_000, 5_000, 300 << 10, 2 << 20] {
        *world.map.breaks_after.lock().unwrap() = Some(after);
        let pushed = tree.push(&["HEAD:refs/heads/agent/x"]);
        assert!(!pushed.ok, "{after}: {}", pushed.said);
        *world.map.breaks_after.lock().unwrap() = None;
        assert_eq!(world.refs(), before, "{after}");
    }
    tree.push(&["HEAD:refs/heads/agent/x"]).is_taken();
}

// covers: G14
#[test]
fn an_upstream_that_refuses_says_why_and_keeps_what_it_has() {
    let world = World::new();
    let tree = work(&world, "work", 1);
    run(git(&world.upstream()).args(["config", "receive.maxInputSize", "1000"]));
    let pushed = tree.push(&["HEAD:refs/heads/agent/x"]);
    assert!(!pushed.ok, "{}", pushed.said);
    assert_eq!(world.refs().len(), 1);
    assert_eq!(world.gate.event("push", 1).reason.map(|reason| reason.slug()), Some("upstream_refused"));
    run(git(&world.upstream()).args(["config", "--unset", "receive.maxInputSize"]));
    tree.push(&["HEAD:refs/heads/agent/x"]).is_taken();
}

// covers: G16
#[test]
fn a_full_quarantine_refuses_and_its_room_comes_back() {
    let world = World::with(WorldOptions { limits: json!({"quarantine_bytes": 3 << 20}), ..WorldOptions::default() });
    let (large, small) = (work(&world, "large", 4), work(&world, "small", 2));
    for _ in 0..3 {
        large.push(&["HEAD:refs/heads/agent/large"]).is_refused_with("too_many");
        small.push(&["HEAD:refs/heads/agent/small"]).is_taken();
        run(git(&world.upstream()).args(["update-ref", "-d", "refs/heads/agent/small"]));
    }
    let policy = bottle_contract::gate::PushPolicy { pack_bytes: 1 << 20, ..WorldOptions::default().policy };
    let world = World::with(WorldOptions { policy, ..WorldOptions::default() });
    work(&world, "work", 2).push(&["HEAD:refs/heads/agent/x"]).is_refused_with("too_large");
}

// covers: G05
#[test]
fn what_the_client_sets_for_git_changes_nothing_at_the_gate() {
    let world = World::new();
    let tree = world.clone_named("work");
    tree.commit("work");
    let mut command = tree.git();
    command.args(["push", "-o", "ci.variable=X", "origin", "HEAD:refs/heads/agent/x"]);
    for (name, value) in [("GIT_TRACE", "1"), ("GIT_PUSH_OPTION_COUNT", "1"), ("GIT_PUSH_OPTION_0", "x"), ("GIT_SSH_COMMAND", "false")] {
        command.env(name, value);
    }
    // The gate does not offer push options, so git does not send any.
    Pushed::of(&mut command).is_refused_with("does not support push options");
    let mut body = Vec::new();
    pkt::line(&mut body, format!("{NULL} {} refs/heads/agent/x\0report-status push-options", tree.head()).as_bytes());
    pkt::flush(&mut body);
    pkt::line(&mut body, b"merge_request.create");
    pkt::flush(&mut body);
    let answer = crate::raw::asked(&world, "POST /app.git/git-receive-pack", &body);
    assert!(answer.contains("push options, which this bottle does not allow"), "{answer}");
    assert_eq!(world.refs().len(), 1);
}

// covers: G14 G22
#[test]
fn an_upstream_that_stands_still_is_given_up_and_the_client_is_told() {
    let limits = json!({"connect_ms": 700, "idle_ms": 1500, "forward_ms": 2500});
    let world = World::with(WorldOptions { limits, ..WorldOptions::default() });
    let tree = world.clone_named("work");
    tree.commit("work");
    let hook = world.upstream().join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\ncat >/dev/null\nsleep 20\n").unwrap();
    run(std::process::Command::new("chmod").arg("755").arg(&hook));
    tree.push(&["HEAD:refs/heads/agent/x"]).is_refused_with("too_slow");
    std::fs::remove_file(&hook).unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let names = std::mem::replace(&mut *world.map.names.lock().unwrap(), vec![(("git.test".into(), 443), silent.local_addr().unwrap())]);
    for words in [vec!["fetch", "origin"], vec!["push", "origin", "HEAD:refs/heads/agent/y"]] {
        Pushed::of(tree.git().args(&words)).is_refused_with("upstream_unreachable");
    }
    *world.map.names.lock().unwrap() = names;
    tree.push(&["HEAD:refs/heads/agent/y"]).is_taken();
}

// covers: G09
#[test]
fn no_word_of_the_agent_changes_where_the_credential_goes() {
    let world = World::new();
    for host in ["evil.test", "git-gate:9420@evil.test", "git-gate%0a:9420", "git-gate:9420, evil.test", "git-gate\0:9420"] {
        let mut stream = TcpStream::connect(("127.0.0.1", world.gate.port)).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        write!(stream, "GET /app.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 4"), "{host}: {answer}");
    }
    let own = "http.extraHeader=Authorization: Basic YWdlbnQ6YWdlbnQ=";
    let tree = world.fresh("work");
    run(tree.git().args(["-c", own, "-c", "http.extraHeader=Cookie: a=b", "ls-remote", "origin"]));
    let requests = world.origin.as_ref().unwrap().requests();
    assert!(!requests.is_empty());
    for request in requests {
        assert_eq!(request.headers.iter().filter(|(name, _)| name == "authorization").count(), 1, "{request:?}");
        assert!(!format!("{request:?}").contains("YWdlbnQ6YWdlbnQ") && request.header("cookie").is_none(), "{request:?}");
    }
}

#[test]
fn a_shallow_clone_can_push() {
    let world = World::new();
    let deep = world.clone_named("deep");
    (0..3).for_each(|n| drop(deep.commit(&n.to_string())));
    run(deep.git().args(["push", "-q"]).arg(world.upstream()).arg("HEAD:main"));
    let tree = world.fresh("shallow");
    run(tree.git().args(["fetch", "-q", "--depth", "1", "origin", "main"]));
    run(tree.git().args(["checkout", "-q", "-b", "work", "FETCH_HEAD"]));
    tree.write("file", "work");
    tree.commit("work");
    tree.push(&["HEAD:refs/heads/agent/x"]).is_taken();
}
