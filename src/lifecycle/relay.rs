//! One direction of a conversation: bytes wait here, bounded, until the other side takes them.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use crate::terminal::writer::Output;

/// Bytes that may wait before the source is no longer read: the sender then feels the slow reader.
const MAX_BUFFERED_BYTES: usize = 256 * 1024;

/// A destination that may be slow, and bytes on the way to it.
#[derive(Debug, Default)]
pub struct Relay {
    target: Option<Output>,
    waiting: VecDeque<u8>,
    outcome: bool,
}

impl Relay {
    /// To an output; without one everything is dropped.
    pub fn to(target: Option<Output>) -> Self {
        Self { target, waiting: VecDeque::new(), outcome: false }
    }

    /// True while more may be read from the source.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < MAX_BUFFERED_BYTES
    }

    /// True once the destination has refused to take any more.
    pub fn is_closed(&self) -> bool {
        self.target.is_none()
    }

    /// The destination, while bytes wait for it.
    pub fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        self.target.as_ref().filter(|_| !self.waiting.is_empty()).map(AsFd::as_fd)
    }

    /// How many bytes wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes bytes, and passes on what the destination takes now.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.target.is_some() {
            self.waiting.extend(bytes);
            self.pump();
        }
    }

    /// Passes on what the destination takes now.
    pub fn pump(&mut self) {
        while let (Some(target), false) = (&self.target, self.waiting.is_empty()) {
            let long = target.may_take_long();
            match target.write(self.waiting.as_slices().0) {
                Ok(count) => {
                    drop(self.waiting.drain(..count));
                    if long {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.close(),
            }
        }
        if self.outcome && self.waiting.is_empty() {
            self.close();
        }
    }

    /// Forgets what waits; true if there was anything.
    pub fn forget(&mut self) -> bool {
        let waited = !self.waiting.is_empty();
        self.waiting.clear();
        waited
    }

    /// Closes the destination once it has taken everything.
    pub fn end(&mut self) {
        self.outcome = true;
        self.pump();
    }

    fn close(&mut self) {
        self.target = None;
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_loses_nothing_and_stops_the_source() {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let mut relay = Relay::to(Some(Output::nonblocking(writer)));
        let mut sent = Vec::new();
        let mut n = 0u32;
        while relay.has_room() {
            let bytes = n.to_le_bytes().repeat(1000);
            relay.push(&bytes);
            sent.extend_from_slice(&bytes);
            n += 1;
        }
        assert!(relay.blocked_on().is_some());
        relay.end();
        let mut received: Vec<u8> = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&reader, &mut buffer) {
                Ok(0) => break,
                Ok(count) => received.extend_from_slice(&buffer[..count]),
                Err(Errno::AGAIN) => relay.pump(),
                Err(e) => panic!("{e}"),
            }
        }
        assert!(received == sent && relay.is_closed());
    }

    #[test]
    fn a_reader_that_is_gone_closes_the_relay() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let mut relay = Relay::to(Some(Output::nonblocking(writer)));
        relay.push(b"x");
        assert!(relay.is_closed() && relay.blocked_on().is_none());
    }
}
