//! What the components print: to the operator and into the records, to the last byte.

use std::time::{Duration, Instant};

use super::watch::{Token, Watch};
use crate::signals::asks_for_end;
use crate::terminal::{self, MESSAGE_TIMEOUT};

/// How long a program that reads our output may take nothing of it until it is given up.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last bytes may take altogether once the end was asked for.
const ASKED: Duration = Duration::from_secs(5);

impl Watch<'_> {
    pub(super) fn output(&mut self, index: usize, name: &'static str) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let is_agent = self.processes[index].is_agent();
        if !is_agent {
            self.last_read = Some(Instant::now());
        }
        match self.processes[index].read(name, &mut buffer) {
            Some(count) => self.take(index, name, is_agent, &buffer[..count]),
            None => self.processes[index].close(name),
        }
        self.buffer = buffer;
        // Whoever reads our output has gone: the agent learns it as it would from any pipe.
        if is_agent && self.operator.relay(name).is_closed() && name != "terminal" {
            self.processes[index].close(name);
        }
    }

    fn take(&mut self, index: usize, name: &str, is_agent: bool, bytes: &[u8]) {
        if is_agent {
            self.operator.print(name, bytes);
            if name != "stdout" {
                self.outcome.printed(bytes);
            }
        }
        self.records.take(&self.processes[index].handle.component, name, bytes);
    }

    /// A component is gone: what it wrote is still in its pipes.
    pub(super) fn drain_output(&mut self, index: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let is_agent = self.processes[index].is_agent();
        while let Some((name, fd)) = self.processes[index].handle.stdio.outputs.first() {
            let name = *name;
            let _ = rustix::io::ioctl_fionbio(fd, true);
            match rustix::io::read(fd, &mut buffer) {
                Ok(count) if count > 0 => self.take(index, name, is_agent, &buffer[..count]),
                Err(rustix::io::Errno::INTR) => {}
                _ => drop(self.processes[index].handle.stdio.outputs.remove(0)),
            }
        }
        self.buffer = buffer;
    }

    /// Every process is gone, and what was read may still wait for a slow reader: as long as it takes something.
    pub(super) fn drain(&mut self) {
        for index in 0..self.processes.len() {
            self.drain_output(index);
        }
        self.processes.clear();
        let asked = self.outcome.was_asked();
        // A terminal that is stopped stays so until somebody types; a program may only be busy.
        let patience = if asked || terminal::messages_are_seen() { MESSAGE_TIMEOUT } else { DRAIN_TIMEOUT };
        let end = asked.then(|| Instant::now() + ASKED);
        let mut left = self.operator.waiting();
        let mut since = Instant::now();
        while left > 0 {
            let deadline = end.into_iter().fold(since + patience, Instant::min);
            // A second signal hurries.
            if Instant::now() >= deadline || !self.pump_until(deadline) {
                self.outcome.unread(left);
                break;
            }
            let now_left = self.operator.waiting();
            if now_left < left {
                (left, since) = (now_left, Instant::now());
            }
        }
        self.operator.give_up();
        self.pump_all(MESSAGE_TIMEOUT);
        self.operator.leave_raw();
    }

    /// Passes on all that waits, within a time, or until a signal comes.
    pub(super) fn pump_all(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while self.operator.waiting() > 0 && Instant::now() < deadline && self.pump_until(deadline) {}
    }

    /// Reads what an agent that has stopped has printed before.
    pub(super) fn catch_up(&mut self, index: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while self.operator.has_room("terminal") {
            match self.processes[index].read("terminal", &mut buffer) {
                Some(count) if count > 0 => self.take(index, "terminal", true, &buffer[..count]),
                _ => break,
            }
        }
        self.buffer = buffer;
    }

    /// Passes on what is taken now; false if a signal has come.
    fn pump_until(&mut self, deadline: Instant) -> bool {
        for token in self.ready(Some(deadline)) {
            match token {
                Token::Stdout => self.operator.stdout.pump(),
                Token::Stderr => self.operator.stderr.pump(),
                Token::Signals => {
                    let came = self.signals.take();
                    let hurries = came.iter().any(|signal| asks_for_end(*signal));
                    // Whoever goes on afterwards still has to hear them.
                    self.late.extend(came);
                    if hurries {
                        return false;
                    }
                }
                _ => {}
            }
        }
        true
    }
}
