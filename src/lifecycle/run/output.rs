//! What the components print: to the operator and into the records, to the last byte.

use super::Run;

impl Run<'_> {
    /// Reads what is there of an output.
    pub(super) fn read_output(&mut self, index: usize, name: &'static str) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let is_agent = self.watch.processes.get(index).is_agent();
        if !is_agent {
            self.watch.begin_batch();
        }
        match self.watch.processes.get(index).read(name, &mut buffer) {
            Some(count) => self.take_output(index, name, &buffer[..count]),
            None => self.watch.processes.get(index).close(name),
        }
        self.buffer = buffer;
        // Whoever reads our output has gone: the agent learns it as it would from any pipe.
        if is_agent && self.operator.relay(name).is_closed() && name != "terminal" {
            self.watch.processes.get(index).close(name);
        }
    }

    fn take_output(&mut self, index: usize, name: &str, bytes: &[u8]) {
        let process = self.watch.processes.get(index);
        if process.is_agent() {
            self.operator.print(name, bytes);
            if name != "stdout" {
                self.outcome.printed(bytes);
            }
        }
        self.records.take(&process.handle.component, name, bytes);
    }

    /// A component is gone: what it wrote is still in its pipes.
    pub(super) fn read_all_output(&mut self, index: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some((name, read)) = self.watch.processes.get(index).read_next(&mut buffer) {
            self.take_output(index, name, &buffer[..read]);
        }
        self.buffer = buffer;
    }

    /// Reads what an agent that has stopped has printed before.
    pub(super) fn catch_up(&mut self, index: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while self.operator.has_room("terminal") {
            match self.watch.processes.get(index).read("terminal", &mut buffer) {
                Some(count) if count > 0 => self.take_output(index, "terminal", &buffer[..count]),
                _ => break,
            }
        }
        self.buffer = buffer;
    }

    /// Every process is gone: reads what is still in their pipes.
    pub(super) fn read_rest(&mut self) {
        for index in 0..self.watch.processes.len() {
            self.read_all_output(index);
        }
        self.watch.processes.clear();
    }
}
