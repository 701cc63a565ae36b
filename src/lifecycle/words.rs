//! What the pieces print: to the operator and into the records, to the last byte.

use std::time::{Duration, Instant};

use super::watch::{Token, Watch};

/// How long a reader of our output that stands still may hold up the end.
const LAST_BYTES: Duration = Duration::from_secs(5);

impl Watch<'_> {
    pub(super) fn output(&mut self, index: usize, name: &'static str) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let is_agent = self.cells[index].is_agent();
        if !is_agent {
            self.heard = Some(Instant::now());
        }
        match self.cells[index].read(name, &mut buffer) {
            Some(count) => self.take(index, name, is_agent, &buffer[..count]),
            None => self.cells[index].close(name),
        }
        self.buffer = buffer;
        // Whoever reads our output has gone: the agent learns it as it would from any pipe.
        if is_agent && self.operator.relay(name).is_closed() && name != "terminal" {
            self.cells[index].close(name);
        }
    }

    fn take(&mut self, index: usize, name: &str, is_agent: bool, bytes: &[u8]) {
        if is_agent {
            self.operator.relay(name).push(bytes);
        }
        self.records.take(&self.cells[index].cell.piece, name, bytes);
    }

    /// A piece is gone: what it wrote is still in its pipes.
    pub(super) fn last_words(&mut self, index: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let is_agent = self.cells[index].is_agent();
        while let Some((name, fd)) = self.cells[index].cell.ends.outputs.first() {
            let name = *name;
            let _ = rustix::io::ioctl_fionbio(fd, true);
            match rustix::io::read(fd, &mut buffer) {
                Ok(count) if count > 0 => self.take(index, name, is_agent, &buffer[..count]),
                Err(rustix::io::Errno::INTR) => {}
                _ => drop(self.cells[index].cell.ends.outputs.remove(0)),
            }
        }
        self.buffer = buffer;
    }

    /// Every process is gone, and what was read may still wait for a slow reader.
    pub(super) fn drain(&mut self) {
        for index in 0..self.cells.len() {
            self.last_words(index);
        }
        self.cells.clear();
        let deadline = Instant::now() + LAST_BYTES;
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
