//! Exit codes, and agents that do not end as they should.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rstest::rstest;

use crate::life::support::{User, component, on_threads, send, start, start_with, through};

/// The agent's own words come last; nothing else is on standard error.
fn ended_by(signal: &str, number: i32) -> String {
    format!("error: the agent was ended by {signal}\ncause: signal {number}\nhint:  its log is kept: `bottle logs`\n")
}

// covers: L01
#[rstest]
fn the_exit_code_is_the_agents_own(#[values(User::Caller, User::Ordinary)] user: User) {
    let codes = if user == User::Caller { (0..=255).collect() } else { (0..=255).step_by(17).collect() };
    on_threads(codes, |code: i32| user.bottle().run(start(&format!("exit {code}"))).expect(code, "", ""));
}

/// Every signal that ends a process, by signal(7) on x86-64 and arm64.
const DEADLY: [(i32, &str); 23] = [
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (16, "SIGSTKFLT"),
    (24, "SIGXCPU"),
    (25, "SIGXFSZ"),
    (26, "SIGVTALRM"),
    (27, "SIGPROF"),
    (29, "SIGIO"),
    (30, "SIGPWR"),
    (31, "SIGSYS"),
];

// covers: L02
#[rstest]
fn a_signal_that_ends_the_agent_is_named_and_128_is_added(#[values(User::Caller, User::Ordinary)] user: User) {
    let real_time = [34, 47, 64].map(|number| (number, format!("signal {number}")));
    let cases = DEADLY.map(|(number, name)| (number, name.to_owned())).into_iter().chain(real_time).collect();
    on_threads(cases, |(number, name): (i32, String)| {
        let script = format!("kill -{number} $$; exit 3");
        user.bottle().run(start(&script)).expect(128 + number, "", &ended_by(&name, number));
    });
}

// covers: L03
#[rstest]
fn a_program_that_cannot_run_is_told_from_one_that_is_not_there(#[values(User::Caller, User::Ordinary)] user: User) {
    // The header of an ELF program for a machine that nobody has (EM_M32, ELF specification).
    let mut foreign = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x01\0\x01\0\0\0".to_vec();
    foreign.resize(4096, 0);
    let there = "cannot be executed in the bottle";
    let cases = [
        ("./missing", 127, "is not in the bottle", "No such file or directory (os error 2)"),
        ("no-such-program", 127, "is not in the bottle", "No such file or directory (os error 2)"),
        ("./plain/below", 127, "is not in the bottle", "Not a directory (os error 20)"),
        ("./plain", 126, there, "Permission denied (os error 13)"),
        ("./foreign", 126, there, "Exec format error (os error 8)"),
        ("./directory", 126, there, "Permission denied (os error 13)"),
    ];
    on_threads(cases.to_vec(), |(name, code, what, cause)| {
        let bottle = user.bottle();
        let work = bottle.path().join("work");
        fs::write(work.join("plain"), "exit 0\n").unwrap();
        fs::write(work.join("foreign"), &foreign).unwrap();
        fs::set_permissions(work.join("foreign"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(work.join("directory")).unwrap();
        let hint = "it sees the host's /usr and /opt; `tools:` in the bottle's manifest adds directories";
        let stderr = format!("error: `{name}` {what}\ncause: {cause}\nhint:  {hint}\n");
        bottle.run(["start", "shell", "--yes", "--", name]).expect(code, "", &stderr);
    });
}

// covers: L23
#[rstest]
fn an_agent_that_ignores_every_request_and_forks_is_killed_after_its_grace(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let script = "trap '' TERM INT HUP QUIT
        for n in $(seq 200); do (trap '' TERM; exec sleep 1000) & done
        echo ready
        for n in $(seq 300); do (trap '' TERM; exec sleep 1000) & done
        while :; do sleep 1000; done";
    let run = bottle.start(start_with(&["--grace", "1"], script));
    run.said("ready\n");
    send(run.pid(), libc::SIGTERM);
    let asked = Instant::now();
    let stderr = "error: the agent did not end in time and was killed\ncause: SIGKILL\nhint:  `--grace` gives it more time\n";
    run.end().expect(137, "ready\n", stderr);
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
}

// covers: L24 L25
#[rstest]
fn what_outlives_the_agent_is_ended_with_it(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let script = "trap 'exit 5' TERM
        (trap '' TERM; exec sleep 1000) &
        (setsid setsid sh -c 'trap \"\" TERM HUP; exec <&- >&- 2>&-; cd /; while :; do sleep 1000; done' &) &
        until test $(ls -d /proc/[0-9]* 2>/dev/null | wc -l) -ge 6; do sleep 0.01; done
        echo ready
        wait";
    let run = bottle.start(start(script));
    run.said("ready\n");
    send(run.pid(), libc::SIGTERM);
    let asked = Instant::now();
    run.end().expect(5, "ready\n", "");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

// covers: L26
#[rstest]
fn whoever_holds_the_agents_output_open_does_not_hold_up_the_end(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let script = "(setsid sh -c 'head -c 1000000 /dev/zero | tr \"\\0\" x; touch /tmp/done; exec sleep 1000' &)
        until test -e /tmp/done; do sleep 0.01; done
        exit 3";
    let begun = Instant::now();
    bottle.run(start(script)).expect(3, &"x".repeat(1_000_000), "");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

// covers: L27
#[rstest]
fn a_sidecar_that_does_not_end_is_killed_and_named(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let run = bottle.start(start("trap 'exit 4' TERM; echo ready; sleep 1000 & wait"));
    run.said("ready\n");
    send(component(run.pid(), "bottle-pipelock"), libc::SIGSTOP);
    send(run.pid(), libc::SIGTERM);
    let asked = Instant::now();
    run.end().expect(4, "ready\n", "");
    assert!(asked.elapsed() < Duration::from_secs(7), "{:?}", asked.elapsed());
    let timeline = fs::read_to_string(bottle.path().join("state/bottle/shell/timeline.jsonl")).unwrap();
    assert!(timeline.contains("\"sidecar_killed\"") && timeline.contains("\"pipelock\""), "{timeline}");
}

// covers: R20
#[rstest]
fn the_first_process_cannot_be_killed_from_inside_and_is_not_replaced_when_it_is_from_outside(
    #[values(User::Caller, User::Ordinary)] user: User,
) {
    let bottle = user.bottle();
    bottle.run(start("kill -9 1; kill -15 1; kill -2 1; exit 9")).expect(9, "", "");
    let run = bottle.start(start("echo ready; exec sleep 1000"));
    run.said("ready\n");
    send(component(run.pid(), "bottle-init"), libc::SIGKILL);
    let stderr = "error: the agent's namespace was killed from outside\ncause: SIGKILL\n\
        hint:  look for the kernel's out-of-memory killer, or raise `limits.memory`\n";
    run.end().expect(137, "ready\n", stderr);
}

// covers: L15
#[rstest]
fn a_reader_that_goes_away_ends_the_agent_as_in_any_pipe(#[values(User::Caller, User::Ordinary)] user: User) {
    let arguments = through("set -o pipefail; \"$0\" \"$@\" | head -1", start("exec yes"));
    user.shell().run(arguments).expect(141, "y\n", &ended_by("SIGPIPE", 13));
}

// covers: L22
#[rstest]
fn signals_without_a_meaning_change_nothing(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let script = "echo ready; read line; exit 6";
    let (stdin, mut keys) = std::io::pipe().unwrap();
    let run = bottle.start_with(start(script), stdin.into());
    run.said("ready\n");
    for signal in (34..=64).chain([libc::SIGPIPE, libc::SIGCHLD, libc::SIGURG, libc::SIGCONT, libc::SIGWINCH]) {
        send(run.pid(), signal);
    }
    std::io::Write::write_all(&mut keys, b"go\n").unwrap();
    run.end().expect(6, "ready\n", "");
}

#[rstest]
fn a_request_to_end_reaches_the_agent_as_it_was_sent(#[values(User::Caller, User::Ordinary)] user: User) {
    let signals = [(libc::SIGTERM, "TERM"), (libc::SIGINT, "INT"), (libc::SIGHUP, "HUP"), (libc::SIGQUIT, "QUIT")];
    on_threads(signals.to_vec(), |(number, name)| {
        let bottle = user.bottle();
        // The signal also ends the `sleep`, which the shell would remark on.
        let script = format!(
            "exec 2>/dev/null; n=0; trap 'n=$((n+1))' {name}; echo ready; while [ $n = 0 ]; do sleep 0.05; done; sleep 0.2; exit $((20 + n))"
        );
        let run = bottle.start(start(&script));
        run.said("ready\n");
        send(run.pid(), number);
        run.end().expect(21, "ready\n", "");
    });
}

// covers: W19
#[rstest]
fn a_time_that_was_up_is_told_in_the_message_the_list_and_the_record(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle().bottle("short", "limits: { time: 1s }").agent("short", "bottle: short\nprovider: shell", "");
    let ended = bottle.run(["start", "short", "--yes", "--", "sh", "-c", "exec sleep 1000"]);
    let hint = "raise `limits.time` of its bottle; its log is kept: `bottle logs`";
    ended.expect(143, "", &format!("error: the agent was ended: its time was up (1s)\ncause: SIGTERM\nhint:  {hint}\n"));
    let listed = bottle.run(["list"]).stdout;
    assert!(listed.contains("  143 ") && listed.ends_with(" (its time was up (1s))\n"), "{listed}");
    let timeline = fs::read_to_string(bottle.path().join("state/bottle/short/timeline.jsonl")).unwrap();
    let record = timeline.lines().find(|line| line.contains("\"time_limit\"")).unwrap();
    assert!(record.contains("its time was up (1s)"), "{record}");
}
