//! The operator's terminal: raw while an agent has it, and restored on every path.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use crate::signals::Signals;

/// The rows and columns that an agent sees when the operator's terminal does not tell: the VT100's.
const FALLBACK: (u16, u16) = (24, 80);

/// No answer is longer.
const LONGEST_ANSWER: usize = 64;

/// A terminal in raw mode; dropping it restores what was there.
#[derive(Debug)]
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Passes every key to the agent; `None` if standard input is no terminal.
    pub fn enter() -> Option<Self> {
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Drain, &raw).ok()?;
        Some(Self { before })
    }

    /// Ctrl-C and its like signal bottle again, no longer the agent.
    pub fn let_signals_through(&self) {
        if let Ok(mut modes) = tcgetattr(stdin()) {
            modes.local_modes.insert(LocalModes::ISIG);
            // A terminal that is gone types nothing.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &modes);
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone; then there is nothing to restore.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.before);
    }
}

/// What came instead of silence.
#[derive(Debug)]
pub enum Answer {
    /// A line, or what there was of it at the end of the input.
    Line(Vec<u8>),
    /// A signal that asks for the end.
    Signal(i32),
}

/// Waits for a line of standard input, or for a signal: a handler only records them, so that reading alone would not
/// be interrupted.
pub fn answer(signals: &mut Signals) -> Answer {
    let mut line = Vec::new();
    loop {
        let ready = {
            let mut fds = [PollFd::from_borrowed_fd(stdin(), PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
            let polled = poll(&mut fds, None);
            polled.is_ok() && !fds[0].revents().is_empty()
        };
        let ends = |signal: &i32| !matches!(*signal, libc::SIGWINCH | libc::SIGCONT | libc::SIGTSTP | libc::SIGUSR1 | libc::SIGUSR2);
        if let Some(signal) = signals.take().into_iter().find(ends) {
            return Answer::Signal(signal);
        }
        let mut byte = [0];
        match ready.then(|| rustix::io::read(stdin(), &mut byte)) {
            None | Some(Err(rustix::io::Errno::INTR)) => {}
            Some(Ok(1)) if byte[0] != b'\n' && line.len() < LONGEST_ANSWER => line.push(byte[0]),
            Some(_) => return Answer::Line(line),
        }
    }
}

/// Both ends of the conversation are terminals.
pub fn is_interactive() -> bool {
    isatty(stdin()) && isatty(stdout())
}

/// Bottle's own messages go to a terminal.
pub fn messages_are_seen() -> bool {
    isatty(stderr())
}

/// Rows and columns.
pub fn window() -> (u16, u16) {
    match tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin())) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => FALLBACK,
    }
}

/// A way to write to one of our standard outputs that never blocks. The mode belongs to the open file, which is shared
/// with whoever started us; so a terminal or pipe is opened anew. A regular file never blocks, and a socket, which
/// cannot be opened, is used as it is.
pub fn without_blocking(output: impl AsFd) -> Option<OwnedFd> {
    let stat = rustix::fs::fstat(&output).ok()?;
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    if kind.is_fifo() || kind.is_char_device() {
        let number = std::os::fd::AsRawFd::as_raw_fd(&output.as_fd());
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        if let Ok(own) = open(format!("/proc/self/fd/{number}"), flags, Mode::empty()) {
            return Some(own);
        }
    }
    rustix::io::fcntl_dupfd_cloexec(output, 3).ok()
}
