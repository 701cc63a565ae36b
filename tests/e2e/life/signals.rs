//! Each signal has its meaning in each state of a bottle, as the table in `src/signals.rs` says.

use std::fs;
use std::time::Duration;

use bottle_test_support::deadline::wait_until;
use bottle_test_support::process::snapshot;
use bottle_test_support::warden::Ending;
use rstest::rstest;

use crate::life::support::{TIMEOUT, User, after, component, on_threads, program, send, start};

fn state(pid: i32) -> char {
    snapshot("").iter().find(|process| process.pid == pid).map_or('X', |process| process.state)
}

/// Waits until a process handles a signal; before, the kernel does with it what it does with any.
#[track_caller]
fn wait_until_handled(pid: i32, signal: i32) {
    let handled = |line: &str| {
        let mask = line.strip_prefix("SigCgt:").and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask & 1 << (signal - 1) != 0)
    };
    let status = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    wait_until(TIMEOUT, || status().lines().any(handled).then_some(())).expect("it handles the signal");
}

// covers: I18
#[rstest]
fn a_signal_for_the_agent_before_it_runs_does_not_keep_it_from_starting(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values(libc::SIGUSR1, libc::SIGUSR2, libc::SIGTSTP)] signal: i32,
) {
    let moments = (0..8).map(|n| Duration::from_millis(20 * n)).collect();
    on_threads(moments, |moment: Duration| {
        let bottle = user.bottle();
        let run = bottle.start(start("trap '' USR1 USR2; exit 6"));
        wait_until_handled(run.pid(), signal);
        after(moment);
        send(run.pid(), signal);
        if signal == libc::SIGTSTP {
            let stopped = wait_until(TIMEOUT, || matches!(state(run.pid()), 'T' | 'Z' | 'X').then_some(()));
            assert!(stopped.is_some(), "it is in state {}", state(run.pid()));
            // It may have ended before.
            let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(run.pid()).unwrap(), rustix::process::Signal::CONT);
        }
        let ended = run.end();
        // An agent that runs already and does not handle the signal yet is ended by it.
        let expected = [Ending::Code(6), Ending::Code(128 + signal)];
        assert!(expected.contains(&ended.ending), "after {moment:?}: {ended:?}");
    });
}

// covers: I18
#[rstest]
fn a_signal_without_a_meaning_does_nothing(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let (stdin, mut keys) = std::io::pipe().unwrap();
    let run = bottle.start_with(start("echo ready; read line; exit 6"), stdin.into());
    run.said("ready\n");
    let named = [libc::SIGXFSZ, libc::SIGVTALRM, libc::SIGPROF, libc::SIGIO, libc::SIGSYS, libc::SIGSTKFLT, libc::SIGPIPE];
    for signal in named.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX()) {
        send(run.pid(), signal);
    }
    std::io::Write::write_all(&mut keys, b"go\n").unwrap();
    run.end().expect(6, "ready\n", "");
}

// covers: I18
#[rstest]
fn an_alarm_the_end_of_processor_time_and_of_power_end_the_bottle_as_a_request_does(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values(libc::SIGALRM, libc::SIGXCPU, libc::SIGPWR)] signal: i32,
) {
    let bottle = user.bottle();
    let run = bottle.start(start("exec 2>/dev/null; trap 'exit 5' TERM; echo ready; while :; do sleep 0.02; done"));
    run.said("ready\n");
    send(run.pid(), signal);
    run.end().expect(5, "ready\n", "");
}

// covers: I18
#[rstest]
fn a_request_to_end_calls_off_the_copy_of_a_big_tree(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let bottle = bottle.bottle("big", "workspace: copy").agent("big", "bottle: big\nprovider: shell", "");
    for n in 0..200 {
        let directory = bottle.path().join(format!("work/{n}"));
        fs::create_dir(&directory).unwrap();
        (0..100).for_each(|n| fs::write(directory.join(n.to_string()), "x").unwrap());
    }
    let run = bottle.start(["start", "big", "--yes", "--", "sh", "-c", "exit 6"]);
    let copy = bottle.path().join("state/bottle/big/workspace");
    let has_begun = || fs::read_dir(&copy).ok()?.flatten().any(|entry| entry.path().is_dir()).then_some(());
    wait_until(TIMEOUT, has_begun).expect("the copy begins");
    send(run.pid(), libc::SIGTERM);
    run.end().expect(143, "", "");
    // What comes behind the copy was not begun.
    assert!(!bottle.path().join("state/bottle/big/logs/agent.jsonl").exists());
}

// covers: I18
#[rstest]
fn a_bottle_that_is_stopped_can_be_ended(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    // No child: a shell that starts one is in vfork(2), and cannot stop, until the child has called exec.
    let mut run = bottle.at_terminal(start("trap 'exit 5' TERM; echo rea''dy; while :; do read line; done"), 80, 24);
    run.pty.wait_for("ready", TIMEOUT).unwrap();
    let agent = component(component(run.pid(), "bottle-init"), "sh");
    send(run.pid(), libc::SIGTSTP);
    wait_until(TIMEOUT, || (state(run.pid()) == 'T' && state(agent) == 'T').then_some(()))
        .unwrap_or_else(|| panic!("bottle is {:?} and its agent {:?}", state(run.pid()), state(agent)));
    let done = bottle.beside(program(), ["stop", "shell"]).output().unwrap();
    assert_eq!(String::from_utf8(done.stdout).unwrap(), "shell has stopped\n");
    assert_eq!(run.end().0, Ending::Code(5));
}

// covers: I18
#[rstest]
fn the_question_waits_while_bottle_is_stopped(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let mut run = bottle.at_terminal(["start", "shell", "--", "sh", "-c", "exit 9"], 80, 24);
    run.pty.wait_for("start? [y/N] ", TIMEOUT).unwrap();
    send(run.pid(), libc::SIGTSTP);
    wait_until(TIMEOUT, || (state(run.pid()) == 'T').then_some(())).expect("it stops");
    send(run.pid(), libc::SIGCONT);
    run.pty.send(b"y\n").unwrap();
    assert_eq!(run.end().0, Ending::Code(9));
}
