//! Ends that come at any instant: signals, kills, a sidecar that dies, two stops at once; and what `cleanup` does then.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bottle_test_support::bottle::Bottle;
use bottle_test_support::deadline::wait_until;
use bottle_test_support::residue::Leftover;
use bottle_test_support::warden::Ending;
use rstest::rstest;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::life::support::{TIMEOUT, User, after, children, component, on_threads, program, routed, send, start, start_with, through};

/// The longest that a start takes here, and a little of the run.
const WINDOW: Duration = Duration::from_millis(600);

/// What is promised.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Instants spread over the window at random, so that each run of the test tries others.
fn instants(count: usize) -> Vec<Duration> {
    let mut random = vec![0; count * 2];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).unwrap();
    let fraction = |pair: &[u8]| f64::from(u16::from_ne_bytes([pair[0], pair[1]])) / f64::from(u16::MAX);
    random.chunks(2).map(|pair| WINDOW.mul_f64(fraction(pair))).collect()
}

/// The processes, beyond any reuse of their numbers. Who has ended meanwhile is left out.
fn pidfds(processes: &[Leftover]) -> Vec<(String, OwnedFd)> {
    let open = |process: &Leftover| match process {
        Leftover::Process { pid, command } => pidfd_open(Pid::from_raw(*pid)?, PidfdFlags::empty()).ok().map(|fd| (command.clone(), fd)),
        _ => None,
    };
    processes.iter().filter_map(open).collect()
}

/// Who lives on after `deadline`: the kernel says on a pidfd when its process has ended (pidfd_open(2)).
fn not_ended_within(deadline: Duration, components: &[(String, OwnedFd)]) -> Vec<String> {
    let end = Instant::now() + deadline;
    let late = |(_, fd): &&(String, OwnedFd)| {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).unwrap();
        poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&left)).unwrap() == 0
    };
    components.iter().filter(late).map(|(command, _)| command.clone()).collect()
}

// covers: L10
#[rstest]
fn a_signal_at_any_instant_ends_everything(#[values(User::Caller, User::Ordinary)] user: User) {
    let signals = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];
    let cases = instants(54).into_iter().enumerate().map(|(n, instant)| (signals[n % 3], instant)).collect();
    on_threads(cases, |(signal, instant): (i32, Duration)| {
        let bottle = user.bottle();
        let run = bottle.start(start("sleep 1; exit 3"));
        after(instant);
        send(run.pid(), signal);
        let asked = Instant::now();
        let ended = run.end();
        // Before bottle listens there is nothing to tear down, and the signal ends it as it ends any program.
        let expected = [Ending::Code(128 + signal), Ending::Signal(signal), Ending::Code(3)];
        assert!(expected.contains(&ended.ending), "signal {signal} after {instant:?}: {ended:?}");
        assert!(asked.elapsed() < Duration::from_secs(12), "signal {signal} after {instant:?}: {:?}", asked.elapsed());
    });
}

// covers: L12
#[rstest]
fn a_second_interrupt_does_not_wait_for_the_agent(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let run = bottle.start(start("exec 2>/dev/null; trap 'echo heard' INT; echo ready; while :; do sleep 0.05; done"));
    run.said("ready\n");
    send(run.pid(), libc::SIGINT);
    run.said("heard\n");
    send(run.pid(), libc::SIGINT);
    let second = Instant::now();
    let stderr = "error: the agent did not end in time and was killed\ncause: SIGKILL\nhint:  `--grace` gives it more time\n";
    run.end().expect(137, "ready\nheard\n", stderr);
    assert!(second.elapsed() < Duration::from_secs(4), "{:?}", second.elapsed());
}

// covers: F16
#[rstest]
fn after_a_kill_at_any_instant_no_process_is_left_and_cleanup_removes_the_rest(#[values(User::Caller, User::Ordinary)] user: User) {
    on_threads(instants(12), |instant: Duration| {
        let bottle = user.bottle();
        let mut run = bottle.start(start("trap '' TERM HUP INT; (setsid sleep 1000 &); sleep 1000"));
        after(instant);
        // While it stands still it starts nothing, so that everybody is known whose end is awaited.
        send(run.pid(), libc::SIGSTOP);
        let components = pidfds(&run.processes());
        send(run.pid(), libc::SIGKILL);
        let late = not_ended_within(EXIT_TIMEOUT, &components);
        assert!(late.is_empty(), "{late:?} live {EXIT_TIMEOUT:?} after bottle was killed, {instant:?} after its start");
        assert_eq!(run.wait(TIMEOUT), Some(Ending::Signal(libc::SIGKILL)));
        let left = wait_until(TIMEOUT, || run.processes().is_empty().then_some(()));
        assert!(left.is_some(), "after {instant:?}: {:#?}", run.processes());
        // What a kill leaves within the write of a file, which it seldom meets.
        let state = bottle.path().join("state/bottle/shell");
        if state.is_dir() {
            fs::write(state.join(".unfinished-0123456789abcdef"), "{").unwrap();
        }
        let cleaned = bottle.run(["cleanup"]);
        assert_eq!((cleaned.ending, cleaned.stderr.as_str()), (Ending::Code(0), ""), "after {instant:?}: {cleaned:?}");
        // The residue is asked against what was there before the start.
        assert_eq!(run.end().ending, Ending::Signal(libc::SIGKILL));
        bottle.run(["cleanup"]).expect(0, "nothing to do\n", "");
        bottle.run(start("exit 2")).expect(2, "", "");
    });
}

// covers: I03
#[rstest]
fn after_a_kill_at_any_call_no_process_is_left_and_the_lock_is_free(#[values(User::Caller, User::Ordinary)] user: User) {
    let starts = [("clone3", 1..=6), ("write", 1..=36), ("waitid", 1..=4), ("sendmsg", 1..=2)];
    let doctors = [("clone3", 1..=2), ("write", 1..=6), ("waitid", 1..=2), ("read", 1..=12)];
    let points = |command: &'static str, calls: [(&'static str, std::ops::RangeInclusive<usize>); 4]| {
        calls.into_iter().flat_map(move |(call, times)| times.map(move |nth| (command, call, nth)))
    };
    on_threads(points("start", starts).chain(points("doctor", doctors)).collect(), |(command, call, nth)| {
        let bottle = user.shell();
        let at = format!("{command} killed at {call} {nth}");
        let script = format!("exec strace -qq -o /dev/null -e trace={call} -e inject={call}:signal=KILL:when={nth} \"$0\" \"$@\"");
        let arguments = if command == "start" { start("exit 0") } else { vec!["doctor".into()] };
        let mut run = bottle.start(through(&script, arguments));
        let ended = run.wait(TIMEOUT);
        assert!(ended.is_some(), "{at}: {:#?}", run.processes());
        let left = wait_until(EXIT_TIMEOUT, || run.processes().is_empty().then_some(()));
        assert!(left.is_some(), "{at}: {:#?}", run.processes());
        if let Ok(lock) = fs::File::open(bottle.path().join("state/bottle/shell/lock")) {
            rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap_or_else(|e| panic!("{at}: {e}"));
        }
        let cleaned = bottle.beside(program(), ["cleanup"]).output().unwrap();
        assert!(cleaned.status.success(), "{at}: {cleaned:?}");
        assert_eq!(self::command(&bottle, &["cleanup"]), (Some(0), "nothing to do\n".to_owned()), "{at}");
        run.end_killed();
    });
}

/// Whether a process that is traced stands still in this system call.
fn stands_in(pid: i32, call: i64) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let traced = status.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('t'));
    traced && fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default().starts_with(&format!("{call} "))
}

// covers: K05
#[rstest]
fn a_component_whose_supervisor_dies_before_it_is_bound_to_it_ends_all_the_same(
    #[values(User::Caller, User::Ordinary)] user: User,
    // Before it asks to be killed with its supervisor, and after it has lost that with its credentials.
    #[values(("prctl:delay_enter", libc::SYS_prctl), ("setresuid:delay_exit", libc::SYS_setresuid))] moment: (&str, i64),
    // The agent's first process comes alone; both sidecars come together, each with a copy of what leads to the ones before it.
    #[values(0, 2)] earlier: usize,
) {
    let (injected, call) = moment;
    let bottle = routed(user.shell());
    let script = format!("exec strace -f -qq -o /dev/null -e trace=prctl,setresuid -e inject={injected}=1000000:when=1 \"$0\" \"$@\"");
    let mut run = bottle.start(through(&script, ["start", "routed", "--yes", "--", "sleep", "1000"].map(Into::into).to_vec()));
    let supervisor = component(run.pid(), program().to_str().unwrap());
    let bound = wait_until(TIMEOUT, || {
        let components = children(supervisor, "");
        (components.len() == earlier + 1 && stands_in(components[earlier].pid, call)).then_some(())
    });
    assert!(bound.is_some(), "{:?}", children(supervisor, ""));
    // Time for the supervisor to tell it all that it needs to go on alone.
    after(Duration::from_millis(300));
    send(supervisor, libc::SIGKILL);
    let gone = wait_until(Duration::from_secs(5), || run.processes().is_empty().then_some(()));
    assert!(gone.is_some(), "{:#?}", run.processes());
    run.wait(TIMEOUT);
    bottle.run(["cleanup"]);
    run.end_killed();
}

// covers: K07 K08
#[rstest]
fn cleanup_touches_nothing_that_lives(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let (stdin, mut keys) = std::io::pipe().unwrap();
    let living = bottle.start_with(start_with(&["--name", "living"], "echo ready; read line; echo $line"), stdin.into());
    living.said("ready\n");
    let mut dead = bottle.start(start_with(&["--name", "dead"], "echo ready; sleep 1000"));
    dead.said("ready\n");
    send(dead.pid(), libc::SIGKILL);
    dead.wait(TIMEOUT);
    let said = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| command(&bottle, &["cleanup"])));
        both.map(|thread| thread.join().unwrap())
    });
    let mut said = said.map(|(code, text)| {
        assert_eq!(code, Some(0), "{text}");
        text
    });
    said.sort();
    assert!(said.iter().any(|text| text.contains("removed the leftovers of")), "{said:?}");
    for _ in 0..2 {
        assert_eq!(command(&bottle, &["cleanup"]), (Some(0), "nothing to do\n".to_owned()));
    }
    std::io::Write::write_all(&mut keys, b"alive\n").unwrap();
    living.end().expect(0, "ready\nalive\n", "");
    dead.end_killed();
}

/// Runs bottle beside others of the same test, whose residue is asked for elsewhere.
fn command(bottle: &Bottle, arguments: &[&str]) -> (Option<i32>, String) {
    let output = bottle.beside(program(), arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

// covers: I04
#[test]
#[expect(clippy::print_stderr, reason = "a skip says what is missing")]
fn a_tree_that_cannot_be_removed_keeps_nobody_from_starting_and_is_told_by_name() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make what its user cannot remove");
        return;
    }
    let bottle = User::Ordinary.bottle();
    let mut killed = bottle.start(start_with(&["--name", "dead"], "echo ready; sleep 1000"));
    killed.said("ready\n");
    send(killed.pid(), libc::SIGKILL);
    killed.wait(TIMEOUT);
    // As a removal leaves it that was killed. A run through the harness would give it to its user.
    let stuck = bottle.path().join("state/bottle/.new-0123456789abcdef");
    fs::create_dir_all(stuck.join("work")).unwrap();
    fs::write(stuck.join("work/node"), "").unwrap();
    std::os::unix::fs::chown(&stuck, Some(bottle.user().unwrap()), None).unwrap();
    let (code, text) = command(&bottle, &["start", "shell", "--yes", "--", "sh", "-c", "exit 6"]);
    assert!(code == Some(6) && text.starts_with("ended: bottle ") && text.lines().count() == 2, "{text}");
    let (code, text) = command(&bottle, &["cleanup"]);
    assert_eq!(code, Some(125), "{text}");
    let path = stuck.display().to_string();
    assert!(text.starts_with("removed the leftovers of dead\n"), "{text}");
    assert!(
        text.contains(&format!("error: cannot remove `{path}/work")) && text.contains("EACCES") || text.contains("Permission denied"),
        "{text}"
    );
    assert!(text.contains(&format!("hint:  `sudo rm -r {path}` removes it; other bottles are not concerned\n")), "{text}");
    fs::remove_dir_all(&stuck).unwrap();
    assert_eq!(command(&bottle, &["cleanup"]), (Some(0), "nothing to do\n".to_owned()));
    killed.end_killed();
}

// covers: L29
#[rstest]
fn two_stops_at_once_are_one(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let script = "exec 2>/dev/null; trap 'sleep 0.5; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let run = bottle.start(start(script));
    run.said("ready\n");
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| command(&bottle, &["stop", "shell"])));
        for thread in both {
            let (code, text) = thread.join().unwrap();
            assert!(code == Some(0) && text.ends_with("has stopped\n"), "{text}");
        }
    });
    // Its own code: the second stop did not shorten the grace.
    run.end().expect(5, "ready\n", "");
    assert_eq!(command(&bottle, &["stop", "shell"]), (Some(0), "shell has stopped\n".to_owned()));
}

// covers: L29
#[rstest]
fn a_stop_during_the_start_ends_it(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let run = bottle.start(start("sleep 1000"));
    wait_until(TIMEOUT, || bottle.path().join("state/bottle/shell/metadata.json").exists().then_some(())).expect("it is recorded");
    let (code, text) = command(&bottle, &["stop", "shell"]);
    assert_eq!((code, text.as_str()), (Some(0), "shell has stopped\n"));
    assert_eq!(run.end().ending, Ending::Code(143));
}

// covers: L29
#[rstest]
fn a_stop_that_does_not_wait_kills_the_agent(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let run = bottle.start(start("exec 2>/dev/null; trap '' TERM INT; echo ready; while :; do sleep 0.05; done"));
    run.said("ready\n");
    let asked = Instant::now();
    let (code, text) = command(&bottle, &["stop", "--now", "shell"]);
    assert_eq!((code, text.as_str()), (Some(0), "shell has stopped\n"));
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    assert_eq!(run.end().ending, Ending::Code(137));
}

// covers: L29
#[rstest]
fn a_stop_that_does_not_wait_is_not_lost_on_a_supervisor_that_stood_still(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let run = bottle.start(start("exec 2>/dev/null; trap '' TERM INT; echo ready; while :; do sleep 0.05; done"));
    run.said("ready\n");
    send(run.pid(), libc::SIGSTOP);
    let asked = Instant::now();
    assert_eq!(command(&bottle, &["stop", "--now", "shell"]), (Some(0), "shell has stopped\n".to_owned()));
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    assert_eq!(run.end().ending, Ending::Code(137));
}

// covers: X02 X05
#[rstest]
fn many_bottles_start_and_end_at_once(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let runs: Vec<_> =
        (0..20).map(|n| bottle.start(start(&format!("trap 'exit {n}' TERM; echo ready; while :; do sleep 0.1; done")))).collect();
    for run in &runs {
        run.said("ready\n");
    }
    let mut ids: Vec<_> = fs::read_dir(bottle.path().join("state/bottle")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    ids.retain(|name| name != ".lock");
    assert_eq!(ids.len(), 20, "{ids:?}");
    for run in &runs {
        send(run.pid(), libc::SIGTERM);
    }
    let mut runs = runs;
    let codes: Vec<_> = runs.iter_mut().map(|run| run.wait(TIMEOUT)).collect();
    assert_eq!(codes, (0..20).map(|n| Some(Ending::Code(n))).collect::<Vec<_>>());
    for run in runs {
        run.end();
    }
}

// covers: X03
#[rstest]
fn a_name_is_not_given_twice_while_its_bottle_ends(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let named = |script| start_with(&["--name", "one"], script);
    let run = bottle.start(named("exec 2>/dev/null; trap 'echo heard; sleep 0.5; exit 5' TERM; echo ready; while :; do sleep 0.05; done"));
    run.said("ready\n");
    send(run.pid(), libc::SIGTERM);
    run.said("heard\n");
    let arguments = named("exit 0");
    let arguments: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap()).collect();
    let taken = "error: cannot start bottle `one`: the name is taken\ncause: a bottle of this name starts or runs, or its logs are kept\n\
        hint:  `bottle list` shows it, `bottle rm one` removes it once it has ended\n";
    assert_eq!(command(&bottle, &arguments), (Some(125), taken.to_owned()));
    run.end().expect(5, "ready\nheard\n", "");
}

// covers: O02
#[rstest]
fn a_sidecar_that_dies_ends_the_agent_and_is_named(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values("pipelock", "egress")] sidecar: &str,
) {
    let bottle = routed(user.bottle());
    let run = bottle.start([
        "start",
        "routed",
        "--yes",
        "--",
        "sh",
        "-c",
        "exec 2>/dev/null; trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done",
    ]);
    run.said("ready\n");
    send(component(run.pid(), &format!("bottle-{sidecar}")), libc::SIGKILL);
    let stderr = format!(
        "error: `{sidecar}` exited; the agent has lost network access\ncause: it was ended by SIGKILL\n\
         hint:  `bottle logs [ID] {sidecar}` shows its last words\n"
    );
    let ended = run.end();
    assert_eq!((ended.ending, ended.stderr.replace("logs routed ", "logs [ID] ")), (Ending::Code(125), stderr));
}

// covers: S07
#[rstest]
fn a_crash_of_any_component_writes_no_core(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = routed(user.bottle());
    let mut run = bottle.start(["start", "routed", "--yes", "--", "sh", "-c", "echo ready; sleep 1000"]);
    run.said("ready\n");
    for target in ["bottle-egress", "bottle-pipelock", "bottle-init", "bottle"] {
        let pid = if target == "bottle" { run.pid() } else { component(run.pid(), target) };
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core: Vec<&str> = limits.lines().find(|line| line.starts_with("Max core")).unwrap().split_whitespace().collect();
        // One byte stops the program of a `core_pattern` too, which none does not; the sidecars are not dumpable at all.
        let limit = if matches!(target, "bottle-egress" | "bottle-pipelock") { "0" } else { "1" };
        assert_eq!(core[4..6], [limit; 2], "{target}");
    }
    // The first meets the standard library's handler of stack overflows, which then stands aside.
    let ended = wait_until(TIMEOUT, || {
        send(run.pid(), libc::SIGSEGV);
        run.wait(Duration::from_millis(100))
    });
    assert_eq!(ended, Some(Ending::Signal(libc::SIGSEGV)));
    wait_until(TIMEOUT, || run.processes().is_empty().then_some(())).expect("every component ends with it");
    assert_eq!(command(&bottle, &["cleanup"]), (Some(0), "removed the leftovers of routed\n".to_owned()));
    run.end();
    assert_eq!(fs::read_dir(bottle.path().join("work")).unwrap().count(), 0);
}
