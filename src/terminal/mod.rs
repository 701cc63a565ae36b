//! The operator's terminal: raw while an agent has it, and restored on every path.

use bottle_contract::Untrusted;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, Termios, isatty, tcflush, tcgetattr, tcgetpgrp, tcgetsid, tcgetwinsize, tcsetattr,
};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::help::Style;
use crate::signals::{Signals, asks_for_end};

pub mod filter;
mod messages;
pub mod output;

pub use messages::{MESSAGE_TIMEOUT, Messages};

/// The rows and columns that an agent sees when the operator's terminal does not tell: the VT100's.
const FALLBACK: (u16, u16) = (24, 80);

/// A terminal gives no longer line (N_TTY_BUF_SIZE).
const MAX_REPLY_BYTES: usize = 4096;

/// A terminal in raw mode; dropping it restores what was there. Modes are set at once, not once the output is taken (`Drain`): a terminal
/// may be stopped, or another process be about to write to it, and that wait has no end.
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
        tcsetattr(stdin(), OptionalActions::Now, &raw).ok()?;
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
        restore(&self.before);
    }
}

/// Puts modes back. Whoever has the terminal now has modes of its own, and a process in the background that changes them is stopped. The
/// terminal may be gone; then there is nothing to restore.
fn restore(before: &Termios) {
    let in_front = tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp());
    // No session has a terminal in front that does not control it: nobody else's modes are in force.
    if in_front || tcgetsid(stdin()).is_err() {
        let _ = tcsetattr(stdin(), OptionalActions::Now, before);
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
        if let Some(signal) = asks_to_end(signals) {
            return Answer::Signal(signal);
        }
        let mut byte = [0];
        match ready.then(|| output::read(stdin(), &mut byte)) {
            None | Some(Err(Errno::AGAIN)) => {}
            Some(Ok(1)) if byte[0] != b'\n' && line.len() < MAX_REPLY_BYTES => line.push(byte[0]),
            Some(_) => return Answer::Line(line),
        }
    }
}

/// The first of the signals that have come that asks for the end. One that asks to stop is obeyed: the terminal's modes, which belong to
/// a question here, are set again afterwards.
fn asks_to_end(signals: &mut Signals) -> Option<i32> {
    let came = signals.take();
    if came.contains(&libc::SIGTSTP) {
        let modes = tcgetattr(stdin());
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
        if let Ok(modes) = modes {
            restore(&modes);
        }
    }
    came.into_iter().chain(signals.take()).find(|signal| asks_for_end(*signal))
}

/// Drops what was typed before a question: it is no answer to it.
pub fn drop_typed() {
    let _ = tcflush(stdin(), QueueSelector::IFlush);
}

/// Echo is off until this is dropped.
struct Silent(Termios);

impl Drop for Silent {
    fn drop(&mut self) {
        restore(&self.0);
    }
}

/// Asks for a secret, without echo; the terminal is restored whatever comes.
pub fn secret(prompt: &str, signals: &mut Signals) -> Result<Zeroizing<String>> {
    let failed = |e: &dyn std::fmt::Display| Error::failed("cannot ask for a value", e, "start it at a terminal");
    let before = tcgetattr(stdin()).map_err(|e| failed(&e))?;
    let mut without_echo = before.clone();
    without_echo.local_modes.remove(LocalModes::ECHO);
    let silent = Silent(before);
    tcsetattr(stdin(), OptionalActions::Now, &without_echo).map_err(|e| failed(&e))?;
    drop_typed();
    let mut messages = Messages::default();
    let asked = messages.ask(&format!("{}: ", Untrusted::new(prompt)), signals);
    let answer = asked.map_or_else(Answer::Signal, |()| answer(signals));
    drop(silent);
    messages.write("\n");
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

/// Reads what was typed, without waiting.
pub fn typed(buffer: &mut [u8]) -> rustix::io::Result<usize> {
    output::read(stdin(), buffer)
}

/// The agent's output goes to a terminal.
pub fn output_is_seen() -> bool {
    isatty(stdout())
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

/// The widest that text is set: longer lines are hard to read.
const MAX_WIDTH: u16 = 100;

/// How text for people is written: no wider than the terminal, and in colour where it takes colour and nobody objects (NO_COLOR).
pub fn style() -> Style {
    let colour = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
    Style { width: usize::from(window().1.min(MAX_WIDTH)), colour }
}
