//! What the components print: to the operator and into the records, to the last byte.

use std::time::{Duration, Instant};

use super::watch::{Token, Watch};

/// How long a reader of our output that stands still may hold up the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

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
            self.operator.relay(name).push(bytes);
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

    /// Every process is gone, and what was read may still wait for a slow reader.
    pub(super) fn drain(&mut self) {
        for index in 0..self.processes.len() {
            self.drain_output(index);
        }
        self.processes.clear();
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        while self.operator.waits() && Instant::now() < deadline {
            for token in self.ready(Some(deadline)) {
                match token {
                    Token::Stdout => self.operator.stdout.pump(),
                    Token::Stderr => self.operator.stderr.pump(),
                    // A second signal hurries.
                    Token::Signals if !self.signals.take().is_empty() => return self.operator.leave_raw(),
                    _ => {}
                }
            }
        }
        self.operator.leave_raw();
    }
}
