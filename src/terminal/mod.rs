//! The operator's terminal: in raw mode while an agent uses it, and restored on every path.

use bottle_contract::Untrusted;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, Termios, isatty, tcflush, tcgetattr, tcgetpgrp, tcgetsid, tcgetwinsize, tcsetattr,
};
use zeroize::Zeroizing;

use crate::error::{Error, Result, Source};
use crate::help::Style;
use crate::signals::{Signals, asks_for_end};

pub mod filter;
mod messages;
pub mod writer;

pub use messages::{MESSAGE_TIMEOUT, Messages};

/// The rows and columns if the operator's terminal does not report any: the VT100's.
const FALLBACK: (u16, u16) = (24, 80);

/// The longest line of a terminal (N_TTY_BUF_SIZE).
const MAX_REPLY_BYTES: usize = 4096;

/// A terminal in raw mode; dropping it restores the old modes. Modes are set immediately, not after pending output (`Drain`): a stopped
/// terminal, or another writer, would block that forever.
#[derive(Debug)]
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Passes every key to the agent; `None` if standard input is not a terminal.
    pub fn enter() -> Option<Self> {
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }

    /// Ctrl-C and similar keys signal bottle again, not the agent.
    pub fn let_signals_through(&self) {
        if let Ok(mut modes) = tcgetattr(stdin()) {
            modes.local_modes.insert(LocalModes::ISIG);
            // A closed terminal sends nothing.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &modes);
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore(&self.before);
    }
}

/// Restores modes. The foreground process has its own modes, and the kernel stops a background process that changes them. A closed terminal
/// needs no restoring.
fn restore(before: &Termios) {
    let in_front = tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp());
    // Not our controlling terminal: no other process has its modes in force.
    if in_front || tcgetsid(stdin()).is_err() {
        let _ = tcsetattr(stdin(), OptionalActions::Now, before);
    }
}

/// The result of waiting for input.
#[derive(Debug)]
pub enum Answer {
    /// A line, possibly incomplete at the end of the input.
    Line(Vec<u8>),
    /// A signal to exit.
    Signal(i32),
}

/// Waits for a line of standard input or a signal. Handlers only record signals, so a plain read would not be interrupted.
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
        match ready.then(|| writer::read(stdin(), &mut byte)) {
            None | Some(Err(Errno::AGAIN)) => {}
            Some(Ok(1)) if byte[0] != b'\n' && line.len() < MAX_REPLY_BYTES => line.push(byte[0]),
            Some(_) => return Answer::Line(line),
        }
    }
}

/// The first signal to exit among those that arrived. A stop signal is obeyed, and the modes of a prompt are set again afterwards.
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

/// Drops keys that were typed before a prompt: they are not its answer.
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

/// Prompts for a secret without echo. The terminal is restored in any case.
pub fn secret(prompt: &str, signals: &mut Signals) -> Result<Zeroizing<String>> {
    let failed = |e: Source| Error::failed("cannot ask for a value", e, "start it at a terminal");
    let before = tcgetattr(stdin()).map_err(|e| failed(e.into()))?;
    let mut without_echo = before.clone();
    without_echo.local_modes.remove(LocalModes::ECHO);
    let silent = Silent(before);
    tcsetattr(stdin(), OptionalActions::Now, &without_echo).map_err(|e| failed(e.into()))?;
    drop_typed();
    let mut messages = Messages::default();
    let prompted = messages.ask(&format!("{}: ", Untrusted::new(prompt)), signals);
    let answer = prompted.map_or_else(Answer::Signal, |()| answer(signals));
    drop(silent);
    messages.write("\n");
    match answer {
        Answer::Line(line) => {
            let line = Zeroizing::new(line);
            let text = std::str::from_utf8(&line).map_err(|e| failed(e.into()))?;
            Ok(Zeroizing::new(text.trim_end_matches('\r').to_owned()))
        }
        Answer::Signal(signal) => {
            let code = u8::try_from(128 + signal).unwrap_or(crate::error::FAILED);
            Err(Error { code, ..Error::failed("not started", format!("signal {signal} came instead of a value"), "start it again") })
        }
    }
}

/// Standard input and output are terminals.
pub fn is_interactive() -> bool {
    isatty(stdin()) && isatty(stdout())
}

/// Reads typed keys without waiting.
pub fn typed(buffer: &mut [u8]) -> rustix::io::Result<usize> {
    writer::read(stdin(), buffer)
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

/// The maximum width of text: longer lines are hard to read.
const MAX_WIDTH: u16 = 100;

/// The style of text for people: at most as wide as the terminal, and in colour if the terminal supports it and NO_COLOR is unset.
pub fn style() -> Style {
    let colour = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
    Style { width: usize::from(window().1.min(MAX_WIDTH)), colour }
}
