//! Signals as data: a handler only records them, the loop reads them from a descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::signal::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::sys::{disposition, interrupt};

/// What the loop acts on.
const HEARD: [i32; 9] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH, SIGUSR1, SIGUSR2];

/// Signals that arrived.
pub struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// From here on no listed signal ends this process. One that was ignored when it started stays so: `nohup bottle …`
    /// outlives its terminal. Real-time signals are heard and dropped: their default would end bottle without a teardown.
    pub fn listen() -> io::Result<Self> {
        // A parent that ignores children's ends would make them vanish unseen.
        disposition::set_default(SIGCHLD)?;
        disposition::ignore(SIGPIPE)?;
        // Whoever started us may have blocked them.
        nix::sys::signal::SigSet::all().thread_unblock()?;
        let heard = HEARD.into_iter().filter(|signal| *signal != SIGHUP || !disposition::is_ignored(*signal));
        interrupt::prepare()?;
        let real_time = (libc::SIGRTMIN()..=libc::SIGRTMAX()).filter(|signal| *signal != interrupt::signal());
        let (read, write) = UnixStream::pair()?;
        Ok(Self(SignalDelivery::with_pipe(read, write, SignalOnly, heard.chain(real_time))?))
    }

    /// What arrived since the last call.
    pub fn take(&mut self) -> Vec<i32> {
        self.0.pending().filter(|signal| HEARD.contains(signal)).collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}
