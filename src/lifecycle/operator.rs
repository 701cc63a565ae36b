//! The operator's side of the conversation: keys to the agent, its output back, and the terminal in between.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{Winsize, tcsetwinsize};

use super::relay::Relay;
use crate::terminal::filter::Filter;
use crate::terminal::writer::Output;
use crate::terminal::{self, Raw};

/// Bytes of input read at one time.
const INPUT_CHUNK_BYTES: usize = 64 * 1024;
/// Gives up a sequence that is not whole (CAN, ST): the next one counts.
const GIVEN_UP: &[u8] = b"\x18\x1b\\";

/// The operator's standard descriptors, and the agent's terminal if it has one.
#[derive(Debug)]
pub struct Operator {
    /// To standard output.
    pub stdout: Relay,
    /// To standard error.
    pub stderr: Relay,
    /// What an agent's output passes on its way to each, if that is a terminal.
    filters: [Option<Filter>; 2],
    /// Both are terminals and go one way: two writers could make one sequence of the halves of two.
    is_one: bool,
    /// To the agent.
    pub agent: Relay,
    stdin_open: bool,
    raw: Option<Raw>,
    master: Option<OwnedFd>,
}

impl Operator {
    /// With `feed`, standard input goes to the agent; with `filter`, its output obeys nobody but the operator's terminal.
    pub fn new(feed: bool, filter: bool) -> Self {
        let seen = [terminal::output_is_seen(), terminal::messages_are_seen()];
        Self {
            filters: seen.map(|seen| (seen && filter).then(Filter::default)),
            is_one: seen == [true, true],
            stdout: Relay::to(Output::to(stdout())),
            stderr: Relay::to(Output::to(stderr())),
            agent: Relay::default(),
            stdin_open: feed,
            raw: None,
            master: None,
        }
    }

    /// True if this output of the agent goes to our standard error.
    fn is_error(&self, output: &str) -> bool {
        output == "stderr" && !self.is_one
    }

    /// Where an output of the agent goes.
    pub fn relay(&self, output: &str) -> &Relay {
        if self.is_error(output) { &self.stderr } else { &self.stdout }
    }

    /// True while an output of the agent may be read.
    pub fn has_room(&self, output: &str) -> bool {
        self.relay(output).has_room()
    }

    /// Passes on what the agent has printed.
    pub fn print(&mut self, output: &str, bytes: &[u8]) {
        let is_error = self.is_error(output);
        let relay = if is_error { &mut self.stderr } else { &mut self.stdout };
        match &mut self.filters[usize::from(is_error)] {
            Some(filter) => relay.push(&filter.pass(bytes)),
            None => relay.push(bytes),
        }
    }

    /// Tells a person that a question waits: fixed words, and none of the agent's. Where the agent has the terminal, it is a bell and a desktop
    /// notification (OSC 9) between two of its sequences, else a line.
    pub fn notify(&mut self) {
        const NOTIFICATION: &[u8] = b"\x07\x1b]9;bottle: a question waits for an answer\x1b\\";
        const LINE: &[u8] = b"note: a question waits for an answer: `bottle asks` shows it\n";
        if self.raw.is_none() {
            self.stderr.push(LINE);
        } else if self.filters[0].is_some() {
            self.stdout.push(NOTIFICATION);
        }
    }

    /// Puts the modes back that the agent has set, for a pause: see [`Self::set_modes_again`].
    pub fn pause_modes(&mut self) {
        for (filter, relay) in self.filters.iter().zip([&mut self.stdout, &mut self.stderr]) {
            relay.push(&filter.as_ref().map(Filter::without).unwrap_or_default());
        }
    }

    /// Sets the modes that the agent had set before a pause.
    pub fn set_modes_again(&mut self) {
        for (filter, relay) in self.filters.iter().zip([&mut self.stdout, &mut self.stderr]) {
            relay.push(&filter.as_ref().map(Filter::resume).unwrap_or_default());
        }
    }

    /// Puts them back at the end, and forgets what nobody has taken.
    pub fn give_up(&mut self) {
        for (filter, relay) in self.filters.iter_mut().zip([&mut self.stdout, &mut self.stderr]) {
            if relay.forget() && filter.is_some() {
                relay.push(GIVEN_UP);
            }
            relay.push(&filter.as_mut().map(Filter::restore).unwrap_or_default());
        }
    }

    /// Standard input, while somebody takes what is read there.
    pub fn input(&self) -> Option<BorrowedFd<'static>> {
        (self.stdin_open && self.agent.has_room() && !self.agent.is_closed()).then(stdin)
    }

    /// Passes on what was typed.
    pub fn feed(&mut self) {
        let mut buffer = [0; INPUT_CHUNK_BYTES];
        match terminal::typed(&mut buffer) {
            Ok(0) | Err(Errno::IO) => {
                self.stdin_open = false;
                if self.master.is_none() {
                    self.agent.end();
                }
            }
            Ok(count) => self.agent.push(&buffer[..count]),
            Err(_) => {}
        }
    }

    /// The agent has a terminal; returns the end to read its output from.
    pub fn take_terminal(&mut self, master: Option<OwnedFd>) -> Option<OwnedFd> {
        let copy = |fd: &Option<OwnedFd>| fd.as_ref().and_then(|fd| fd.try_clone().ok());
        let output = copy(&master);
        if let Some(output) = &output {
            let _ = rustix::io::ioctl_fionbio(output, true);
        }
        self.agent = Relay::to(copy(&master).map(Output::nonblocking));
        self.master = master;
        // The window may have changed since the specification was written.
        self.resize();
        output
    }

    /// The agent has a pipe.
    pub fn take_input(&mut self, input: OwnedFd) {
        let _ = rustix::io::ioctl_fionbio(&input, true);
        self.agent = Relay::to(Some(Output::nonblocking(input)));
        if !self.stdin_open {
            self.agent.end();
        }
    }

    /// Every key goes to the agent.
    pub fn enter_raw(&mut self) {
        self.raw = Raw::enter();
    }

    /// The terminal is as it was.
    pub fn leave_raw(&mut self) {
        self.raw = None;
    }

    /// The keys that make signals are bottle's again.
    pub fn let_signals_through(&self) {
        if let Some(raw) = &self.raw {
            raw.let_signals_through();
        }
    }

    /// Gives the agent's terminal the size of the operator's.
    pub fn resize(&self) {
        if let Some(master) = &self.master {
            let (rows, columns) = terminal::window();
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // A terminal that is gone has no size.
            let _ = tcsetwinsize(master, size);
        }
    }

    /// How many bytes still wait for a slow reader.
    pub fn waiting(&self) -> usize {
        [&self.stdout, &self.stderr].iter().map(|relay| relay.waiting()).sum()
    }
}
