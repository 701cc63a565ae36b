//! The operator's terminal: raw while an agent has it, and restored on every path.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use bottle_contract::Untrusted;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{LocalModes, OptionalActions, QueueSelector, Termios, isatty, tcflush, tcgetattr, tcgetwinsize, tcsetattr};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::signals::Signals;

/// The rows and columns that an agent sees when the operator's terminal does not tell: the VT100's.
const FALLBACK: (u16, u16) = (24, 80);

/// A terminal gives no longer line (N_TTY_BUF_SIZE).
const LONGEST_ANSWER: usize = 4096;

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

/// Drops what was typed before a question: it is no answer to it.
pub fn drop_typed() {
    let _ = tcflush(stdin(), QueueSelector::IFlush);
}

/// Echo is off until this is dropped.
struct Silent(Termios);

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Asks for a secret, without echo; the terminal is restored whatever comes.
pub fn secret(prompt: &str, signals: &mut Signals) -> Result<Zeroizing<String>> {
    let failed = |e: &dyn std::fmt::Display| Error::failed("cannot ask for a value", e, "start it at a terminal");
    let before = tcgetattr(stdin()).map_err(|e| failed(&e))?;
    let mut without_echo = before.clone();
    without_echo.local_modes.remove(LocalModes::ECHO);
    let silent = Silent(before);
    tcsetattr(stdin(), OptionalActions::Drain, &without_echo).map_err(|e| failed(&e))?;
    drop_typed();
    let mut messages = std::io::stderr().lock();
    let _ = write!(messages, "{}: ", Untrusted::new(prompt));
    let _ = messages.flush();
    let answer = answer(signals);
    drop(silent);
    let _ = writeln!(messages);
    match answer {
        Answer::Line(line) => {
            let line = Zeroizing::new(line);
            let text = std::str::from_utf8(&line).map_err(|e| failed(&e))?;
            Ok(Zeroizing::new(text.trim_end_matches('\r').to_owned()))
        }
        Answer::Signal(signal) => {
            let code = u8::try_from(128 + signal).unwrap_or(crate::error::FAILED);
            Err(Error { code, ..Error::failed("not started", format!("signal {signal} came instead of a value"), "start it again") })
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
