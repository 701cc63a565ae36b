//! A terminal, pipe or socket that nobody reads: limits, signals and `bottle stop` work all the same, and the last message does not hang.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bottle_test_support::bottle::Bottle;
use bottle_test_support::deadline::wait_until;
use bottle_test_support::pty::Pty;
use bottle_test_support::run::{AtTerminal, OnPipes};
use bottle_test_support::warden::Ending;
use rstest::rstest;

use crate::life::support::{TIMEOUT, User, has_no_bottle, program, send, start};

/// The last bytes and the last words take two seconds; the rest is for a busy machine.
const EXIT_TIMEOUT: Duration = Duration::from_secs(8);
/// Prints more than anything on the way takes, and says how it was asked to end. The shell itself prints nothing meanwhile: it would wait.
const FLOOD: &str = "exec 2>/dev/null; trap 'exit 5' TERM; trap 'exit 6' INT; echo rea''dy; yes $(head -c 999 /dev/zero | tr '\\0' y) & while :; do sleep 0.02; done";

/// Why nobody reads.
#[derive(Clone, Copy, Debug)]
enum Terminal {
    /// Whoever has its other side does not look.
    Unread,
    /// It was stopped (XOFF).
    Stopped,
    /// It was stopped, and it controls another session than ours: it can be opened under no name.
    Foreign,
}

impl Terminal {
    fn run<'b>(self, bottle: &'b Bottle, arguments: &[std::ffi::OsString]) -> AtTerminal<'b> {
        let pty = Pty::unread(80, 24).unwrap();
        if !matches!(self, Self::Unread) {
            pty.stop().unwrap();
        }
        bottle.at(pty, !matches!(self, Self::Foreign), arguments)
    }
}

/// Waits until the agent runs, as its log tells; nothing else does.
#[track_caller]
fn wait_until_ready(bottle: &Bottle, name: &str) {
    let log = bottle.path().join(format!("state/bottle/{name}/logs/agent.jsonl"));
    let ready = wait_until(TIMEOUT, || fs::read_to_string(&log).unwrap_or_default().contains("ready").then_some(()));
    assert!(ready.is_some(), "{:?}", fs::read_to_string(log));
}

fn limited(bottle: Bottle) -> Bottle {
    bottle.bottle("short", "limits: { time: 3s }").agent("short", "bottle: short\nprovider: shell", "")
}

fn start_limited(script: &str) -> Vec<std::ffi::OsString> {
    ["start", "short", "--yes", "--", "sh", "-c", script].map(Into::into).to_vec()
}

// covers: I05
#[rstest]
fn a_time_limit_holds_at_a_terminal_that_nobody_reads(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values(Terminal::Unread, Terminal::Stopped, Terminal::Foreign)] terminal: Terminal,
) {
    let bottle = limited(user.bottle());
    let run = terminal.run(&bottle, &start_limited(FLOOD));
    wait_until_ready(&bottle, "short");
    let ready = Instant::now();
    assert_eq!(run.end().0, Ending::Code(5));
    assert!(ready.elapsed() < Duration::from_secs(3) + EXIT_TIMEOUT, "{:?}", ready.elapsed());
}

// covers: I05
#[rstest]
fn a_signal_and_stop_reach_a_bottle_whose_terminal_nobody_reads(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values(Terminal::Unread, Terminal::Stopped, Terminal::Foreign)] terminal: Terminal,
    #[values("signal", "stop", "stop --now")] way: &str,
) {
    let bottle = user.bottle();
    let run = terminal.run(&bottle, &start(FLOOD));
    wait_until_ready(&bottle, "shell");
    let asked = Instant::now();
    match way.strip_prefix("stop") {
        None => send(run.pid(), libc::SIGTERM),
        Some(now) => {
            let arguments = ["stop", "shell"].into_iter().chain(now.split_whitespace());
            let done = bottle.beside(program(), arguments).output().unwrap();
            assert_eq!(String::from_utf8(done.stdout).unwrap(), "shell has stopped\n");
        }
    }
    assert_eq!(run.end().0, Ending::Code(if way == "stop --now" { 6 } else { 5 }));
    assert!(asked.elapsed() < EXIT_TIMEOUT, "{:?}", asked.elapsed());
}

// covers: I05
#[rstest]
fn a_last_message_that_nobody_reads_does_not_hang(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values(Terminal::Stopped, Terminal::Foreign)] terminal: Terminal,
    #[values("kill -SEGV $$", "no-such-program", "no-such-agent")] end: &str,
) {
    let bottle = user.bottle();
    let (arguments, code) = match end {
        "kill -SEGV $$" => (start(end), 139),
        "no-such-program" => (["start", "shell", "--yes", "--", end].map(Into::into).to_vec(), 127),
        // Nothing was made yet.
        _ => (["start", end].map(Into::into).to_vec(), 2),
    };
    let begun = Instant::now();
    assert_eq!(terminal.run(&bottle, &arguments).end().0, Ending::Code(code));
    assert!(begun.elapsed() < EXIT_TIMEOUT, "{:?}", begun.elapsed());
}

// covers: I05
#[rstest]
fn a_question_that_nobody_reads_ends_with_a_signal(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values(Terminal::Stopped, Terminal::Foreign)] terminal: Terminal,
) {
    let bottle = user.bottle();
    let run = terminal.run(&bottle, &["start", "shell"].map(Into::into));
    // From the moment that it handles signals; before, the kernel ends it.
    let status = format!("/proc/{}/status", run.pid());
    let catches = |line: &str| {
        let mask = line.strip_prefix("SigCgt:").and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask & 1 << (libc::SIGTERM - 1) != 0)
    };
    let listens = || fs::read_to_string(&status).unwrap_or_default().lines().any(catches).then_some(());
    wait_until(TIMEOUT, listens).expect("it listens for signals");
    let asked = Instant::now();
    send(run.pid(), libc::SIGTERM);
    assert_eq!(run.end().0, Ending::Code(143));
    assert!(asked.elapsed() < EXIT_TIMEOUT, "{:?}", asked.elapsed());
    assert!(has_no_bottle(&bottle));
}

/// True once nothing more fits: a pipe holds 64 KiB in pages that need not be full, and a socket more than twice that.
fn is_full(unread: &File, kind: &str) -> Option<()> {
    let least = if kind == "pipe" { 60_000 } else { 150_000 };
    (rustix::io::ioctl_fionread(unread).unwrap() >= least).then_some(())
}

// covers: I05
#[rstest]
fn a_limit_and_a_signal_hold_when_a_pipe_or_socket_is_full(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values("pipe", "socket")] kind: &str,
    #[values("limit", "signal")] way: &str,
) {
    let bottle = match way {
        "limit" => limited(user.bottle()),
        _ => user.bottle().agent("short", "bottle: offline\nprovider: shell", ""),
    };
    let (unread, stdout): (OwnedFd, OwnedFd) = match kind {
        "pipe" => std::io::pipe().map(|(reader, writer)| (reader.into(), writer.into())).unwrap(),
        _ => UnixStream::pair().map(|(ours, theirs)| (ours.into(), theirs.into())).unwrap(),
    };
    let mut unread = File::from(unread);
    let arguments = ["start", "short", "--yes", "--headless", "--", "sh", "-c", FLOOD];
    let run: OnPipes<'_> = bottle.start_into(arguments, stdout.into());
    wait_until_ready(&bottle, "short");
    let mut begun = Instant::now();
    if way == "signal" {
        wait_until(TIMEOUT, || is_full(&unread, kind)).expect("nothing more fits");
        begun = Instant::now();
        send(run.pid(), libc::SIGTERM);
    }
    let ended = run.end();
    assert!(begun.elapsed() < Duration::from_secs(3) + EXIT_TIMEOUT, "{:?}", begun.elapsed());
    assert_eq!(ended.ending, Ending::Code(5), "{ended:?}");
    let said: Vec<&str> = ended.stderr.lines().collect();
    assert!(said.len() >= 3, "{ended:?}");
    let (before, last) = said.split_at(said.len() - 3);
    assert!(last[0].ends_with("bytes of the agent's output were not taken"), "{ended:?}");
    assert_eq!(last[2], "hint:  `bottle logs [ID] agent` shows them");
    let first = (way == "limit").then_some("error: the agent was ended: its time was up (3s)");
    assert_eq!(before.first().copied(), first);
    // What was taken is what the agent printed.
    let mut taken = Vec::new();
    unread.read_to_end(&mut taken).unwrap();
    let mut lines = taken.split(|byte| *byte == b'\n');
    assert_eq!(lines.next(), Some(&b"ready"[..]));
    assert!(lines.all(|line| line.iter().all(|byte| *byte == b'y')));
}
