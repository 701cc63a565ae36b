//! An operator's terminal: keys, sizes, pauses, and modes that are restored on every path. Each run here also proves the last,
//! as its residue holds the terminal's modes. What is waited for is spelt otherwise in the script, which the summary shows.

use std::fs;
use std::time::{Duration, Instant};

use bottle_test_support::deadline::wait_until;
use bottle_test_support::warden::Ending;
use nix::sys::termios::LocalFlags;
use rstest::rstest;

use crate::life::support::{TIMEOUT, User, children, component, has_no_bottle, send, start, start_with, through};

fn state(pid: i32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('X')
}

#[track_caller]
fn reaches(pid: i32, wanted: impl Fn(char) -> bool) {
    let reached = wait_until(TIMEOUT, || wanted(state(pid)).then_some(()));
    assert!(reached.is_some(), "process {pid} is in state {}", state(pid));
}

// covers: L11
#[rstest]
fn one_interrupt_that_is_typed_is_one_interrupt_for_the_agent(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let script = "n=0; trap 'n=$((n+1))' INT; trap 'exit $((30+n))' USR1; echo rea''dy; while :; do sleep 0.05; test $n -gt 0 && echo count''ed; done";
    let mut run = bottle.at_terminal(start(script), 80, 24);
    run.pty.wait_for("ready", TIMEOUT).unwrap();
    run.pty.send(b"\x03").unwrap();
    run.pty.wait_for("counted", TIMEOUT).unwrap();
    run.pty.wait_for("counted", TIMEOUT).unwrap();
    send(run.pid(), libc::SIGUSR1);
    assert_eq!(run.end().0, Ending::Code(31));
}

// covers: L11
#[rstest]
fn an_interrupt_at_the_question_ends_it_and_nothing_is_made(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    for (keys, code) in [(&b"\x03"[..], 130), (b"n\n", 125), (b"\n", 125), (b"\x04", 125)] {
        let mut run = bottle.at_terminal(["start", "shell"], 80, 24);
        run.pty.wait_for("start? [y/N] ", TIMEOUT).unwrap();
        run.pty.send(keys).unwrap();
        let (ending, screen) = run.end();
        assert_eq!(ending, Ending::Code(code), "{}", screen.escape_ascii());
    }
    assert!(has_no_bottle(&bottle));
    let mut run = bottle.at_terminal(["start", "shell", "--", "sh", "-c", "exit 9"], 80, 24);
    run.pty.wait_for("start? [y/N] ", TIMEOUT).unwrap();
    run.pty.send(b"y\n").unwrap();
    assert_eq!(run.end().0, Ending::Code(9));
}

// covers: T05
#[rstest]
fn what_is_typed_before_the_question_does_not_answer_it(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.shell();
    let go = bottle.path().join("home/go");
    let waiting = format!("echo wait''ing; until [ -e {} ]; do sleep 0.02; done; exec \"$0\" \"$@\"", go.display());
    let mut run = bottle.at_terminal(through(&waiting, ["start", "shell", "--", "sh", "-c", "exit 9"].map(Into::into).to_vec()), 80, 24);
    run.pty.wait_for("waiting", TIMEOUT).unwrap();
    run.pty.send(b"y\n").unwrap();
    // Its echo: the line waits in the terminal from here on.
    run.pty.wait_for("y\r\n", TIMEOUT).unwrap();
    fs::write(&go, "").unwrap();
    run.pty.wait_for("start? [y/N] ", TIMEOUT).unwrap();
    run.pty.send(b"n\n").unwrap();
    let (ending, screen) = run.end();
    assert_eq!(ending, Ending::Code(125), "{}", screen.escape_ascii());
    assert!(has_no_bottle(&bottle));
}

// covers: L12
#[rstest]
fn an_interrupt_that_is_typed_while_the_agent_should_end_kills_it(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let script = "trap 'echo hea\"\"rd' TERM; trap '' INT; echo rea''dy; while :; do sleep 0.05; done";
    let mut run = bottle.at_terminal(start(script), 80, 24);
    run.pty.wait_for("ready", TIMEOUT).unwrap();
    send(run.pid(), libc::SIGTERM);
    run.pty.wait_for("heard", TIMEOUT).unwrap();
    let typed = Instant::now();
    run.pty.send(b"\x03").unwrap();
    let (ending, _) = run.end();
    assert_eq!(ending, Ending::Code(137));
    assert!(typed.elapsed() < Duration::from_secs(6), "{:?}", typed.elapsed());
}

// covers: L13
#[rstest]
fn a_terminal_that_closes_ends_the_bottle(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.shell();
    let mut run = bottle.at_terminal(through("set -m; \"$0\" \"$@\"; exit", start("echo rea''dy; exec sleep 1000")), 80, 24);
    run.pty.wait_for("ready", TIMEOUT).unwrap();
    let supervisor = component(run.pid(), crate::life::support::program().to_str().unwrap());
    // The session's leader ends, and the kernel hangs the terminal up.
    send(run.pid(), libc::SIGKILL);
    reaches(supervisor, |state| matches!(state, 'X' | 'Z'));
    let metadata = wait_until(TIMEOUT, || {
        let text = fs::read_to_string(bottle.path().join("state/bottle/shell/metadata.json")).ok()?;
        serde_json::from_str::<serde_json::Value>(&text).ok().filter(|metadata| metadata["phase"] == "ended")
    });
    assert_eq!(metadata.expect("it is torn down")["exit"]["code"], 129);
}

// covers: L13
#[rstest]
fn a_hang_up_that_was_ignored_before_stays_so(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.shell();
    let (stdin, mut keys) = std::io::pipe().unwrap();
    let run =
        bottle.start_with(through("trap '' HUP; exec \"$0\" \"$@\"", start("echo rea''dy; read line; echo $line; exit 6")), stdin.into());
    run.said("ready\n");
    send(run.pid(), libc::SIGHUP);
    std::io::Write::write_all(&mut keys, b"still here\n").unwrap();
    run.end().expect(6, "ready\nstill here\n", "");
}

// covers: L16
#[rstest]
fn a_pause_stops_the_agent_too_and_both_go_on(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let mut run = bottle.at_terminal(start("echo rea''dy; read line; exit 6"), 80, 24);
    run.pty.wait_for("ready", TIMEOUT).unwrap();
    let supervisor = run.pid();
    let agent = component(component(supervisor, "bottle-init"), "sh");
    let is_raw = |pty: &bottle_test_support::pty::Pty| !pty.modes().unwrap().local_flags.contains(LocalFlags::ICANON);
    assert!(is_raw(&run.pty));
    for _ in 0..3 {
        send(supervisor, libc::SIGTSTP);
        reaches(supervisor, |state| state == 'T');
        reaches(agent, |state| state == 'T');
        assert!(!is_raw(&run.pty));
        send(supervisor, libc::SIGCONT);
        reaches(agent, |state| state != 'T');
        wait_until(TIMEOUT, || is_raw(&run.pty).then_some(())).expect("the agent has the terminal again");
    }
    run.pty.send(b"go\r").unwrap();
    assert_eq!(run.end().0, Ending::Code(6));
}

// covers: W18
#[rstest]
fn an_agent_that_stops_itself_stops_bottle_and_the_shell_brings_both_back(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.shell();
    let agent = "printf '\\033[?1049h'; echo rea''dy; kill -STOP $$; echo on aga''in; exit 6";
    let shell = "set -m; \"$0\" \"$@\"; echo sto''pped $?; fg >/dev/null; exit $?";
    let mut run = bottle.at_terminal(through(shell, start(agent)), 80, 24);
    run.pty.wait_for("ready", TIMEOUT).unwrap();
    let before = run.pty.wait_for("stopped 148", TIMEOUT).unwrap();
    // The shell has the terminal as it was.
    assert!(before.windows(8).any(|window| window == b"\x1b[?1049l"), "{}", before.escape_ascii());
    let after = run.pty.wait_for("on again", TIMEOUT).unwrap();
    assert!(after.windows(8).any(|window| window == b"\x1b[?1049h"), "{}", after.escape_ascii());
    assert_eq!(run.end().0, Ending::Code(6));
}

// covers: W18
#[rstest]
fn an_agent_that_stops_itself_where_nobody_can_bring_it_back_goes_on(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let script = "kill -STOP $$; kill -STOP $$; echo on aga''in; exit 6";
    assert_eq!(bottle.at_terminal(start(script), 80, 24).end().0, Ending::Code(6));
    bottle.run(start_with(&["--headless"], script)).expect(6, "on again\n", "");
}

// covers: L18
#[rstest]
fn the_agent_sees_the_windows_size_at_once_and_its_last_change(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let script = "stty size; echo rea''dy; until test \"$(stty size)\" = '61 161'; do sleep 0.02; done; exit 4";
    let mut run = bottle.at_terminal(start(script), 101, 41);
    let seen = run.pty.wait_for("ready", TIMEOUT).unwrap();
    assert!(seen.windows(6).any(|bytes| bytes == b"41 101"), "{}", seen.escape_ascii());
    for n in 0..1000 {
        run.pty.resize(80 + n % 50, 24 + n % 20).unwrap();
    }
    run.pty.resize(161, 61).unwrap();
    assert_eq!(run.end().0, Ending::Code(4));
}

// covers: L18
#[rstest]
fn a_change_of_size_during_the_start_is_not_lost(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    for _ in 0..5 {
        let run = bottle.at_terminal(start("until test \"$(stty size)\" = '61 161'; do sleep 0.02; done; exit 4"), 80, 24);
        let begun = wait_until(TIMEOUT, || (!children(run.pid(), "").is_empty()).then_some(()));
        assert!(begun.is_some());
        run.pty.resize(161, 61).unwrap();
        assert_eq!(run.end().0, Ending::Code(4));
    }
}

/// What was on the screen before bottle began a line of its own behind an agent that had not ended its last.
fn before_messages(screen: &[u8]) -> &[u8] {
    screen.strip_suffix(b"\r\n").unwrap_or(screen)
}

/// Bytes that hold every value, and that a terminal would change if it could.
fn every_byte(length: usize) -> Vec<u8> {
    (0u32..).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()).take(length).collect()
}

// covers: T09
#[rstest]
fn ten_megabytes_go_through_the_terminal_both_ways_unchanged(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let bytes = every_byte(10_000_000);
    let mut run = bottle.at_terminal(start_with(&["--unfiltered"], "stty raw -echo; echo rea''dy; exec head -c 10000000"), 80, 24);
    run.pty.wait_for("ready\n", TIMEOUT).unwrap();
    run.pty.send(&bytes).unwrap();
    let (ending, screen) = run.end();
    assert_eq!(ending, Ending::Code(0));
    let screen = before_messages(&screen);
    let came = &screen[screen.len() - bytes.len()..];
    let differs = came.iter().zip(&bytes).position(|(came, sent)| came != sent);
    assert_eq!(differs, None);
}

// covers: T11
#[rstest]
fn without_a_terminal_nothing_is_drawn_and_nothing_is_asked(#[values(User::Caller, User::Ordinary)] user: User) {
    let script = "test -t 0 || test -t 1 || test -t 2 || echo ${TERM:-none}";
    let bottle = user.bottle().env("TERM", "xterm-256color");
    bottle.run(start(script)).expect(0, "none\n", "");
    bottle.run(start_with(&["--headless"], script)).expect(0, "none\n", "");
}

// covers: L11
#[rstest]
fn the_terminal_is_as_before_after_every_kind_of_end(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values("exit", "signal", "agent lost", "sidecar lost", "not found", "killed")] end: &str,
) {
    let bottle = user.bottle();
    let script = match end {
        "exit" => "stty raw -echo; exit 0",
        "signal" => "stty raw -echo; kill -SEGV $$",
        "not found" => "exit 0",
        _ => "trap '' TERM; stty raw -echo; echo rea''dy; while :; do sleep 1; done",
    };
    let arguments = if end == "not found" {
        ["start", "shell", "--yes", "--", "no-such-program"].map(Into::into).to_vec()
    } else {
        start_with(&["--grace", "0"], script)
    };
    let mut run = bottle.at_terminal(arguments, 80, 24);
    let supervisor = run.pid();
    if script.starts_with("trap") {
        run.pty.wait_for("ready", TIMEOUT).unwrap();
        match end {
            "agent lost" => send(component(supervisor, "bottle-init"), libc::SIGKILL),
            "sidecar lost" => send(component(supervisor, "bottle-pipelock"), libc::SIGKILL),
            _ => send(supervisor, libc::SIGTERM),
        }
    }
    let expected = match end {
        "exit" => 0,
        "signal" => 139,
        "not found" => 127,
        "sidecar lost" => 125,
        _ => 137,
    };
    assert_eq!(run.end().0, Ending::Code(expected));
}

/// Sets modes, a title, the clipboard, and asks for what is typed as an answer.
const PRINTS: &str = "printf '\\033]52;c;eA==\\a\\033]777;notify;a;b\\a\\033P$qm\\033\\134\\033[?1049h\\033[?1000h\\033[?25l\\033[?2004h\\033[31mx\\033]2;t\\a'";
/// What of it passes, and what puts it back.
const PASSED: &[u8] = b"\x1b[?1049h\x1b[?1000h\x1b[?25l\x1b[?2004h\x1b[31mx\x1b[22;0t\x1b]2;t\x07";
const RESTORED: &[u8] = b"\x1b[?25h\x1b[?1000l\x1b[?2004l\x1b[?1049l\x1b[m\x1b[23;0t";

#[track_caller]
fn shows(screen: &[u8], wanted: &[u8]) {
    assert!(screen.windows(wanted.len()).any(|window| window == wanted), "{}", screen.escape_ascii());
}

// covers: I07
#[rstest]
fn what_an_agent_prints_acts_on_the_screen_alone_and_its_modes_go_with_it(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values("exit 6", "kill -KILL $$", "TERM", "INT INT")] end: &str,
) {
    let bottle = user.bottle();
    let script = match end {
        "TERM" | "INT INT" => format!("trap '' INT; {PRINTS}; echo rea''dy; while :; do sleep 0.05; done"),
        _ => format!("{PRINTS}; {end}"),
    };
    let mut run = bottle.at_terminal(start(&script), 80, 24);
    if !script.ends_with(end) {
        run.pty.wait_for("ready", TIMEOUT).unwrap();
    }
    match end {
        "TERM" => send(run.pid(), libc::SIGTERM),
        "INT INT" => {
            send(run.pid(), libc::SIGINT);
            // Keys make signals again once the end was asked for.
            wait_until(TIMEOUT, || run.pty.modes().unwrap().local_flags.contains(LocalFlags::ISIG).then_some(())).unwrap();
            run.pty.send(b"\x03").unwrap();
        }
        _ => {}
    }
    let (ending, screen) = run.end();
    let expected = match end {
        "exit 6" => 6,
        "TERM" => 143,
        _ => 137,
    };
    assert_eq!(ending, Ending::Code(expected), "{}", screen.escape_ascii());
    if script.ends_with(end) {
        shows(&screen, &[PASSED, RESTORED].concat());
    } else {
        shows(&screen, PASSED);
        shows(&screen, RESTORED);
    }
    assert!(![&b"\x1b]52"[..], b"\x1b]777", b"\x1bP"].iter().any(|text| screen.windows(text.len()).any(|window| window == *text)));
}

// covers: I07
#[rstest]
fn an_agent_without_a_terminal_of_its_own_is_filtered_at_the_operators_too(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let run = bottle.at_terminal(start_with(&["--headless"], &format!("{PRINTS} >&2; {PRINTS}; exit 6")), 80, 24);
    let (ending, screen) = run.end();
    assert_eq!(ending, Ending::Code(6));
    assert!(!screen.windows(4).any(|window| window == b"\x1b]52"), "{}", screen.escape_ascii());
    assert!(before_messages(&screen).ends_with(RESTORED), "{}", screen.escape_ascii());
}

// covers: I07
#[rstest]
fn what_an_agent_prints_passes_unchanged_if_the_operator_says_so(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let run = bottle.at_terminal(start_with(&["--unfiltered"], &format!("{PRINTS}; exit 6")), 80, 24);
    let (ending, screen) = run.end();
    assert_eq!(ending, Ending::Code(6));
    assert!(before_messages(&screen).ends_with(b"\x1b]2;t\x07"), "{}", screen.escape_ascii());
    shows(&screen, b"\x1b]52;c;eA==\x07");
}
