//! Signals as data: a handler only records them, the loop reads them from a descriptor.
//!
//! | signal | meaning |
//! |---|---|
//! | INT, QUIT, TERM, HUP | end; the agent gets the same signal |
//! | ALRM, XCPU, PWR | end, as with TERM: an alarm set by whoever started bottle, its processor time, the machine's power |
//! | TSTP | stop, with the agent once it runs, until CONT |
//! | WINCH | the window has another size |
//! | USR1, USR2 | for the agent alone, once it runs |
//! | all others that end a process by default, but those of a crash | nothing: bottle would end without a teardown |

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use libc::{SIGALRM, SIGPWR, SIGSTKFLT, SIGXCPU};
use signal_hook::consts::signal::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGPIPE, SIGPROF, SIGQUIT, SIGSYS, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGVTALRM, SIGWINCH,
    SIGXFSZ,
};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::sys::{disposition, interrupt};

/// What asks for the end.
const ENDS: [i32; 7] = [SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGALRM, SIGXCPU, SIGPWR];
/// What the loop acts on beside.
const OTHERS: [i32; 5] = [SIGTSTP, SIGCONT, SIGWINCH, SIGUSR1, SIGUSR2];
/// What is dropped. Whatever a write past the limit of a file's size meets (XFSZ), it is told as an error.
const DROPPED: [i32; 6] = [SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO, SIGSYS, SIGSTKFLT];
/// What stays ignored if it was ignored when bottle started: `nohup bottle …` outlives its terminal.
const MAY_BE_IGNORED: [i32; 4] = [SIGHUP, SIGALRM, SIGXCPU, SIGPWR];

/// The last signal that asked for the end, for work that is done without looking at the loop's descriptor; 0 for none.
static ASKED: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// The signal that asked for the end since this was last forgotten.
pub fn asked() -> Option<i32> {
    let asked = ASKED.get().map_or(0, |flag| flag.load(Ordering::Relaxed));
    i32::try_from(asked).ok().filter(|signal| *signal != 0)
}

/// What was asked before is known; from here on something else is called off.
pub fn forget() {
    if let Some(flag) = ASKED.get() {
        flag.store(0, Ordering::Relaxed);
    }
}

/// True for a signal that asks for the end.
pub fn asks_for_end(signal: i32) -> bool {
    ENDS.contains(&signal)
}

/// Signals that arrived.
pub struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// From here on no listed signal ends this process.
    pub fn listen() -> io::Result<Self> {
        // A parent that ignores children's ends would make them vanish unseen.
        disposition::set_default(SIGCHLD)?;
        disposition::ignore(SIGPIPE)?;
        // Whoever started us may have blocked them.
        nix::sys::signal::SigSet::all().thread_unblock()?;
        interrupt::prepare()?;
        let stays = |signal: &i32| MAY_BE_IGNORED.contains(signal) && disposition::is_ignored(*signal);
        let heard: Vec<i32> = ENDS.into_iter().chain(OTHERS).filter(|signal| !stays(signal)).collect();
        let flag = ASKED.get_or_init(Arc::default);
        for signal in heard.iter().filter(|signal| asks_for_end(**signal)) {
            signal_hook::flag::register_usize(*signal, flag.clone(), usize::try_from(*signal).unwrap_or_default())?;
        }
        let real_time = (libc::SIGRTMIN()..=libc::SIGRTMAX()).filter(|signal| *signal != interrupt::signal());
        let (read, write) = UnixStream::pair()?;
        Ok(Self(SignalDelivery::with_pipe(read, write, SignalOnly, heard.into_iter().chain(DROPPED).chain(real_time))?))
    }

    /// What arrived since the last call.
    pub fn take(&mut self) -> Vec<i32> {
        self.0.pending().filter(|signal| ENDS.contains(signal) || OTHERS.contains(signal)).collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}
