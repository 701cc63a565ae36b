//! The operator's side of the conversation: keys to the agent, its output back, and the terminal in between.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{Winsize, tcsetwinsize};

use super::relay::Relay;
use super::watch::CHUNK;
use crate::terminal::output::Output;
use crate::terminal::{self, Raw};

/// The operator's standard descriptors, and the agent's terminal if it has one.
#[derive(Debug)]
pub struct Operator {
    /// To standard output.
    pub stdout: Relay,
    /// To standard error.
    pub stderr: Relay,
    /// To the agent.
    pub agent: Relay,
    stdin_open: bool,
    raw: Option<Raw>,
    master: Option<OwnedFd>,
}

impl Operator {
    /// With `feed`, standard input goes to the agent.
    pub fn new(feed: bool) -> Self {
        Self {
            stdout: Relay::to(Output::to(stdout())),
            stderr: Relay::to(Output::to(stderr())),
            agent: Relay::default(),
            stdin_open: feed,
            raw: None,
            master: None,
        }
    }

    /// Where an output of the agent goes.
    pub fn relay(&mut self, output: &str) -> &mut Relay {
        if output == "stderr" { &mut self.stderr } else { &mut self.stdout }
    }

    /// True while an output of the agent may be read.
    pub fn has_room(&self, output: &str) -> bool {
        if output == "stderr" { self.stderr.has_room() } else { self.stdout.has_room() }
    }

    /// Standard input, while somebody takes what is read there.
    pub fn input(&self) -> Option<BorrowedFd<'static>> {
        (self.stdin_open && self.agent.has_room() && !self.agent.is_closed()).then(stdin)
    }

    /// Passes on what was typed.
    pub fn feed(&mut self) {
        let mut buffer = [0; CHUNK];
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
