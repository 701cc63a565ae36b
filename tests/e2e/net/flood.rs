//! Floods from inside: an honest request is answered all the same, and the sidecars' memory does not grow with them.

use std::fs;
use std::time::{Duration, Instant};

use bottle_test_support::residue::Leftover;
use bottle_test_support::warden::Ending;

use crate::net::world::{NAME, World};

/// What a process takes for itself, in KiB, and the most that it ever took.
fn memory(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The sidecars' processes.
fn sidecars(processes: &[Leftover]) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for process in processes {
        if let Leftover::Process { pid, .. } = process
            && let Ok(name) = fs::read_to_string(format!("/proc/{pid}/comm"))
            && ["bottle-egress", "bottle-pipelock"].contains(&name.trim())
        {
            found.push((*pid, name.trim().to_owned()));
        }
    }
    found
}

// covers: H09 H18 N19
#[test]
fn an_honest_request_is_answered_within_a_second_under_floods() {
    let world = World::new(None).route("echo.test", "").file("flood.py", include_str!("flood.py")).ready("provider: shell");
    let started = Instant::now();
    let run = world.bottle.start(["start", NAME, "--yes", "--headless", "--", "/usr/bin/python3", "flood.py", "echo.test"]);
    run.said("calm 200");
    let components = sidecars(&run.processes());
    assert_eq!(components.len(), 2, "{components:?}");
    let before: Vec<u64> = components.iter().map(|(pid, _)| memory(*pid).expect("it lives")).collect();
    run.said("over");
    let after: Vec<Option<u64>> = components.iter().map(|(pid, _)| memory(*pid)).collect();
    let ended = run.end();
    assert_eq!(ended.ending, Ending::Code(0), "{}\n{}", ended.stdout, ended.stderr);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[1], "flood 5000", "{}", ended.stdout);
    let honest = &lines[2..12];
    let slow =
        honest.iter().filter(|line| !matches!(line.split_once(' '), Some((took, "200")) if took.parse::<u64>().is_ok_and(|ms| ms < 1000)));
    assert_eq!(slow.collect::<Vec<_>>(), Vec::<&&str>::new(), "{}", ended.stdout);
    for ((component, before), after) in components.iter().zip(before).zip(after) {
        let grown = after.expect("it lived to the end").saturating_sub(before);
        assert!(grown < 64 << 10, "{component:?} grew by {grown} KiB");
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}
