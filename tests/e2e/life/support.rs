//! What the tests of a bottle's life share: who runs it, its processes, and signals.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bottle_test_support::bottle::Bottle;
use bottle_test_support::deadline::wait_until;
use bottle_test_support::process::{Process, snapshot};
use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything takes that a test waits for.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// Somebody who owns nothing on any machine that tests run on.
const SOMEBODY: u32 = 4000;

/// Who runs a bottle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// Whoever runs the tests.
    Caller,
    /// Not root.
    Ordinary,
}

impl User {
    /// A `bottle` of this user's.
    pub(crate) fn bottle(self) -> Bottle {
        self.runs(program())
    }

    /// A shell of this user's, to start `bottle` under odd circumstances: see [`through`].
    pub(crate) fn shell(self) -> Bottle {
        self.runs("/bin/bash".into())
    }

    fn runs(self, program: PathBuf) -> Bottle {
        match self {
            Self::Caller => Bottle::new(program),
            Self::Ordinary => Bottle::new(program).as_user(SOMEBODY),
        }
    }
}

/// A bottle with both sidecars, neither of which is ever asked for anything.
pub(crate) fn routed(bottle: Bottle) -> Bottle {
    bottle.bottle("routed", "egress:\n  routes:\n    - host: a.test").agent("routed", "bottle: routed\nprovider: shell", "")
}

/// The program, with its sidecars beside it.
pub(crate) fn program() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_bottle"));
    for sidecar in ["bottle-egress", "bottle-pipelock"] {
        let path = program.with_file_name(sidecar);
        assert!(path.is_file(), "{} is missing: `cargo build --workspace` makes it", path.display());
    }
    program
}

/// True if no start has made a bottle: of a name that was reserved nothing is left but the lock that all bottles share.
pub(crate) fn has_no_bottle(bottle: &Bottle) -> bool {
    let store = std::fs::read_dir(bottle.path().join("state/bottle"));
    store.map_or(true, |mut entries| entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == ".lock")))
}

/// The arguments of a start that runs `script` in a bottle without network.
pub(crate) fn start(script: &str) -> Vec<OsString> {
    ["start", "shell", "--yes", "--", "sh", "-c", script].map(OsString::from).to_vec()
}

/// The same, with options.
pub(crate) fn start_with(options: &[&str], script: &str) -> Vec<OsString> {
    [&["start", "shell", "--yes"], options, &["--", "sh", "-c", script]].concat().into_iter().map(OsString::from).collect()
}

/// The arguments of a shell that does something first: `exec "$0" "$@"` in `script` becomes bottle.
pub(crate) fn through(script: &str, arguments: Vec<OsString>) -> Vec<OsString> {
    ["-c".into(), script.into(), program().into_os_string()].into_iter().chain(arguments).collect()
}

/// The children of a process, whose command line begins with `name`.
pub(crate) fn children(parent: i32, name: &str) -> Vec<Process> {
    snapshot("")
        .into_iter()
        .filter(|process| process.parent == parent && process.state != 'Z' && process.command.starts_with(name))
        .collect()
}

/// The first process of a component, once it runs; the agent's is called `bottle-init`.
#[track_caller]
pub(crate) fn component(supervisor: i32, name: &str) -> i32 {
    wait_until(TIMEOUT, || children(supervisor, name).first().map(|process| process.pid)).expect("the component runs")
}

/// Sends a signal.
#[track_caller]
pub(crate) fn send(pid: i32, signal: i32) {
    assert!(pid > 1);
    // SAFETY: the number is a signal of this machine, and nothing here has a handler for it.
    let signal = unsafe { Signal::from_raw_unchecked(signal) };
    kill_process(Pid::from_raw(pid).expect("a process"), signal).expect("the process is there");
}

/// Lets a moment pass: the instant at which something is done is what such a test is about.
pub(crate) fn after(moment: Duration) {
    let end = Instant::now() + moment;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// Does the work of `items` on a few threads; a failure in one fails the test.
pub(crate) fn on_threads<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync) {
    let items = std::sync::Mutex::new(items);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let item = items.lock().unwrap().pop();
                    match item {
                        Some(item) => work(item),
                        None => return,
                    }
                }
            });
        }
    });
}
