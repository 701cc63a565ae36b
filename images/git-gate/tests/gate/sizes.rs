//! Much at once: many objects, many bytes, many pushes.

use std::time::{Duration, Instant};

use crate::support::*;

/// A gigabyte that does not compress, and ten thousand files.
#[test]
fn a_gigabyte_and_ten_thousand_objects_pass() {
    let world = World::new();
    let tree = world.clone_named("work");
    run(tree.git().args(["config", "core.compression", "0"]));
    run(tree.git().args(["config", "core.bigFileThreshold", "1m"]));
    let mut block = vec![0; 16 << 20];
    aws_lc_rs::rand::fill(&mut block).unwrap();
    for n in 0..64_u8 {
        block[0] = n;
        tree.write(&format!("data/{n}.bin"), &block);
    }
    for n in 0..10_000 {
        tree.write(&format!("src/{}/{n}.txt", n % 100), format!("line {n}\nanother\n"));
    }
    let commit = tree.commit("much");
    let started = Instant::now();
    tree.push(&["HEAD:refs/heads/agent/much"]).is_taken();
    let event = world.gate.event("push", 1);
    assert!(event.sent.is_some_and(|bytes| bytes > 1 << 30), "{event:?}");
    assert!(event.objects.is_some_and(|objects| objects > 10_000), "{event:?}");
    assert!(world.refs().contains(&format!("refs/heads/agent/much {commit}")));
    assert!(started.elapsed() < Duration::from_secs(240), "{:?}", started.elapsed());
    // The pack itself is a file in memory, which does not count as the process's own.
    let anonymous = status(world.gate.pid(), "RssAnon:");
    assert!(anonymous < 64 << 10, "{anonymous} KiB");
}

// covers: G18
#[test]
fn twenty_pushes_at_once_all_arrive() {
    let world = World::new();
    let tree = world.clone_named("work");
    let mut expected = Vec::new();
    for n in 0..20 {
        run(tree.git().args(["checkout", "-q", "-b", &format!("b{n:02}"), "origin/main"]));
        tree.write("file", format!("{n}\n").repeat(10_000));
        expected.push(format!("refs/heads/agent/b{n:02} {}", tree.commit("work")));
    }
    expected.push(format!("refs/heads/main {}", run(tree.git().args(["rev-parse", "origin/main"]))));
    let pushes: Vec<_> = (0..20)
        .map(|n| {
            let spec = format!("b{n:02}:refs/heads/agent/b{n:02}");
            tree.git().args(["push", "-q", "origin", &spec]).stderr(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for push in pushes {
        let output = push.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(world.refs(), expected);
}

/// Bench P9 measures the release build; this is the bound of any.
#[test]
fn the_gate_says_something_at_once() {
    let world = World::new();
    let tree = world.clone_named("work");
    tree.commit("work");
    let started = Instant::now();
    let mut push =
        tree.git().args(["push", "--progress", "origin", "HEAD:refs/heads/agent/x"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut stderr = std::io::BufReader::new(push.stderr.take().unwrap());
    while !said.contains("remote: git-gate:") {
        assert!(std::io::BufRead::read_line(&mut stderr, &mut said).unwrap() > 0, "{said}");
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(push.wait().unwrap().success());
}
