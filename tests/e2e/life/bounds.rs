//! What happens at the bounds of a host's resources, and that no signal is ever sent to more than one process or group.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use bottle_test_support::bottle::Bottle;
use bottle_test_support::run::Ended;
use bottle_test_support::warden::Ending;
use rstest::rstest;

use crate::life::support::{User, component, program, routed, send, start, through};

/// Somebody of whom no other test runs a process: the kernel counts them by user.
const ALONE: u32 = 4100;

/// It worked, or bottle said in three lines why not. The agent's code is 7.
#[track_caller]
fn worked_or_was_told(ended: &Ended, under: &str) -> bool {
    if ended.ending == Ending::Code(7) {
        return true;
    }
    assert_eq!(ended.ending, Ending::Code(125), "{under}: {ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let shape = lines.len() == 3 && lines[0].starts_with("error: ") && lines[1].starts_with("cause: ") && lines[2].starts_with("hint:  ");
    assert!(shape, "{under}: {ended:?}");
    false
}

// covers: X09
#[test]
fn running_out_of_processes_is_told_and_leaves_nothing() {
    let bottle = routed(Bottle::new("/bin/bash").as_user(ALONE));
    let mut worked = Vec::new();
    for limit in [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16] {
        let arguments = ["start", "routed", "--yes", "--", "sh", "-c", "exit 7"].map(Into::into).to_vec();
        let ended = bottle.run(through(&format!("ulimit -u {limit}; exec \"$0\" \"$@\""), arguments));
        worked.push(worked_or_was_told(&ended, &format!("{limit} processes")));
    }
    assert!(!worked[0], "one process is bottle itself");
    bottle.run(through("exec \"$0\" \"$@\"", start("exit 7"))).expect(7, "", "");
}

// covers: X10
#[rstest]
fn running_out_of_memory_is_told_and_leaves_nothing(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = routed(user.shell());
    let arguments = || ["start", "routed", "--yes", "--", "sh", "-c", "exit 7"].map(Into::into).to_vec();
    let mut worked = Vec::new();
    for megabytes in [24, 32, 48, 64, 96, 128, 4096] {
        let ended = bottle.run(through(&format!("ulimit -v {}; exec \"$0\" \"$@\"", megabytes << 10), arguments()));
        // A program that is larger than its address space may be is ended by the kernel before its first instruction.
        let never_ran = [Ending::Code(139), Ending::Signal(libc::SIGSEGV), Ending::Signal(libc::SIGKILL)].contains(&ended.ending);
        worked.push(!never_ran && worked_or_was_told(&ended, &format!("{megabytes} MiB")));
    }
    assert_eq!(worked.last(), Some(&true));
}

// covers: K16
#[rstest]
fn a_fork_bomb_stays_inside_its_limit_and_ends_in_time(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle().bottle("small", "limits: { pids: 60 }").agent("small", "bottle: small\nprovider: shell", "");
    let bomb = "exec 2>/dev/null; bomb() { bomb | bomb & }; trap '' TERM; mkfifo /tmp/never; echo ready; bomb & read line <>/tmp/never";
    let run = bottle.start(["start", "small", "--yes", "--grace", "1", "--", "bash", "-c", bomb]);
    run.said("ready\n");
    let most = (0..20).map(|_| run.processes().len()).max();
    // The components of bottle itself come on top: the supervisor, pipelock and the agent's first process.
    assert!(most <= Some(60 + 8), "{most:?} processes");
    let asked = Instant::now();
    send(run.pid(), libc::SIGTERM);
    let ended = run.end();
    assert_eq!(ended.ending, Ending::Code(137), "{ended:?}");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

/// System calls of a bottle and of all its components, whoever they run as.
struct Trace {
    directory: tempfile::TempDir,
    /// Starts the bottle for [`through`].
    script: String,
}

impl Trace {
    fn of(calls: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("calls");
        fs::write(&file, "").unwrap();
        rustix::fs::chmod(directory.path(), 0o777.into()).unwrap();
        rustix::fs::chmod(&file, 0o666.into()).unwrap();
        let script = format!("exec strace -f -qq -e signal=none -e trace={calls} -o {} \"$0\" \"$@\"", file.display());
        Self { directory, script }
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.directory.path().join("calls")).unwrap()
    }
}

// covers: K11
#[rstest]
fn no_signal_goes_to_everybody(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.shell();
    let trace = Trace::of("kill,tkill,tgkill,pidfd_send_signal,rt_sigqueueinfo");
    let run = bottle.start(through(&trace.script, start("trap 'exit 5' INT; echo ready; while :; do sleep 0.05; done")));
    run.said("ready\n");
    send(component(run.pid(), program().to_str().unwrap()), libc::SIGINT);
    assert_eq!(run.end().ending, Ending::Code(5));
    let calls = trace.calls();
    assert!(calls.contains("pidfd_send_signal("), "{calls}");
    let to_many: Vec<&str> =
        calls.lines().filter(|line| ["kill(0,", "kill(-1,", "kill(1,"].iter().any(|call| line.contains(call))).collect();
    assert_eq!(to_many, Vec::<&str>::new());
}

// covers: X16
#[rstest]
fn the_agents_port_is_bound_once_where_nobody_else_can_be_and_never_probed(#[values(User::Caller, User::Ordinary)] user: User) {
    // Whoever has the same port outside is not in the way; if it is somebody else than this test, that serves as well.
    let _taken = TcpListener::bind("127.0.0.1:8888");
    let bottle = user.shell();
    let trace = Trace::of("bind,listen,connect");
    let ended = bottle.start(through(&trace.script, start("exit 5"))).end();
    assert_eq!(ended.ending, Ending::Code(5), "{ended:?}");
    let calls = trace.calls();
    let internet: Vec<&str> = calls.lines().filter(|line| line.contains("htons(8888)")).collect();
    assert_eq!(internet.len(), 1, "{calls}");
    let (process, bound) = internet[0].split_once(" bind(").expect("the one call binds");
    let (socket, address) = bound.split_once(", ").unwrap();
    assert_eq!(address, "{sa_family=AF_INET, sin_port=htons(8888), sin_addr=inet_addr(\"127.0.0.1\")}, 16) = 0");
    let listens = calls.lines().filter(|line| line.starts_with(&format!("{process} listen({socket}, ")) && line.ends_with(" = 0"));
    assert_eq!(listens.count(), 1, "{calls}");
}

// covers: K06
#[rstest]
fn the_thread_that_starts_the_components_is_the_only_one_and_lives_as_long_as_they_do(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let run = bottle.start(start("trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"));
    run.said("ready\n");
    let threads: Vec<String> =
        fs::read_dir(format!("/proc/{}/task", run.pid())).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(threads, [run.pid().to_string()]);
    send(run.pid(), libc::SIGTERM);
    assert_eq!(run.end().ending, Ending::Code(5));
}
