//! The supervisor's end of its connection to `supervise`: lines in both directions, bounded, and nothing here waits.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bottle_contract::ask::MAX_LINE;
use bottle_contract::supervise::{FromClient, ToClient};
use rustix::io::Errno;
use rustix::net::SendFlags;

/// Bytes read at one time.
const CHUNK_BYTES: usize = 16 << 10;
/// Bytes that may wait for the sidecar: a reply of the largest size to each of its clients is less.
const MAX_WAITING_BYTES: usize = 8 << 20;

/// The connection. It does not block.
#[derive(Debug)]
pub(super) struct AsksChannel {
    socket: OwnedFd,
    received: Vec<u8>,
    waiting: VecDeque<u8>,
    is_over: bool,
}

impl AsksChannel {
    /// `socket` does not block.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, received: Vec::new(), waiting: VecDeque::new(), is_over: false }
    }

    /// The socket, while something may come.
    pub(super) fn input(&self) -> Option<BorrowedFd<'_>> {
        (!self.is_over).then(|| self.socket.as_fd())
    }

    /// The socket, while something waits for it.
    pub(super) fn output(&self) -> Option<BorrowedFd<'_>> {
        (!self.is_over && !self.waiting.is_empty()).then(|| self.socket.as_fd())
    }

    /// What has come. A sidecar that says what is no message is heard no more; its exit says the rest.
    pub(super) fn read(&mut self) -> Vec<FromClient> {
        let mut buffer = [0; CHUNK_BYTES];
        match rustix::io::read(&self.socket, &mut buffer) {
            Err(Errno::AGAIN | Errno::INTR) => return Vec::new(),
            Ok(count) if count > 0 => self.received.extend_from_slice(&buffer[..count]),
            Ok(_) | Err(_) => {
                self.close();
                return Vec::new();
            }
        }
        let mut messages = Vec::new();
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(message) => messages.push(message),
                Err(_) => self.close(),
            }
        }
        if self.received.len() > MAX_LINE {
            self.close();
        }
        messages
    }

    /// Sends a message, as far as it is taken now. One who takes nothing is sent nothing more.
    pub(super) fn send(&mut self, message: &ToClient) {
        match serde_json::to_vec(message) {
            Ok(line) if !self.is_over && self.waiting.len() + line.len() < MAX_WAITING_BYTES => {
                self.waiting.extend(line);
                self.waiting.push_back(b'\n');
                self.pump();
            }
            _ => self.close(),
        }
    }

    /// Sends what is taken now.
    pub(super) fn pump(&mut self) {
        while !self.waiting.is_empty() {
            match rustix::net::send(&self.socket, self.waiting.as_slices().0, SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.close(),
            }
        }
    }

    fn close(&mut self) {
        self.is_over = true;
        self.received.clear();
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use bottle_contract::supervise::{Reply, ToSupervisor};

    use super::*;

    fn pair() -> (AsksChannel, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (AsksChannel::new(ours.into()), theirs)
    }

    #[test]
    fn messages_come_whole_whatever_the_pieces() {
        let (mut channel, mut sidecar) = pair();
        let message = FromClient { client: 7, says: ToSupervisor::Denials { last: 3 } };
        let line = serde_json::to_vec(&message).unwrap();
        sidecar.write_all(&line[..5]).unwrap();
        assert_eq!(channel.read(), []);
        sidecar.write_all(&[&line[5..], b"\n", &line, b"\n"].concat()).unwrap();
        assert_eq!(channel.read(), [message.clone(), message]);
        channel.send(&ToClient { client: 7, hears: Reply::Refused("no".into()) });
        drop(channel);
        let mut heard = String::new();
        sidecar.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "{\"client\":7,\"hears\":{\"refused\":\"no\"}}\n");
    }

    // covers: M09
    #[test]
    fn what_is_no_message_ends_the_conversation() {
        for hostile in [b"{}\n".to_vec(), b"\xff\n".to_vec(), vec![b' '; MAX_LINE + CHUNK_BYTES]] {
            let (mut channel, mut sidecar) = pair();
            let writer = std::thread::spawn(move || sidecar.write_all(&hostile));
            while channel.input().is_some() {
                assert_eq!(channel.read(), []);
            }
            drop(channel);
            let _ = writer.join().unwrap();
        }
    }
}
