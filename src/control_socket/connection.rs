//! One client: what it has sent, and what it has not taken yet.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::frame::{self, Lines};
use super::{MAX_FRAME_BYTES, Request, Response};
use crate::error::Error;

/// Bytes read at one time.
const CHUNK_BYTES: usize = 16 << 10;

/// A client that is connected.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    lines: Lines,
    waiting: VecDeque<u8>,
    /// Nothing more is read from it.
    is_ending: bool,
}

impl Connection {
    /// `socket` does not block.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, lines: Lines::default(), waiting: VecDeque::new(), is_ending: false }
    }

    /// The socket, while something may be read from it.
    pub(super) fn input(&self) -> Option<BorrowedFd<'_>> {
        (!self.is_ending).then(|| self.socket.as_fd())
    }

    /// The socket, while something waits for it.
    pub(super) fn output(&self) -> Option<BorrowedFd<'_>> {
        (!self.waiting.is_empty()).then(|| self.socket.as_fd())
    }

    /// True once nothing more comes or goes.
    pub(super) fn is_over(&self) -> bool {
        self.is_ending && self.waiting.is_empty()
    }

    /// Reads what is there. What is no request is answered, and ends the connection.
    pub(super) fn read(&mut self) -> Vec<Request> {
        let mut buffer = [0; CHUNK_BYTES];
        let count = match rustix::io::read(&self.socket, &mut buffer) {
            Err(Errno::AGAIN | Errno::INTR) => return Vec::new(),
            Ok(count) if count > 0 => count,
            Ok(_) | Err(_) => {
                self.is_ending = true;
                return Vec::new();
            }
        };
        let mut requests = Vec::new();
        let read = self
            .lines
            .push(&buffer[..count])
            .and_then(|lines| lines.iter().try_for_each(|line| frame::read(line).map(|request| requests.push(request))));
        if let Err(why) = read {
            let error = Error::usage("the bottle does not understand the request", why, "use the `bottle` that started it");
            self.answer(&Response::Failed(error.into()));
            self.is_ending = true;
        }
        requests
    }

    /// Sends a response, as far as it is taken now. Who takes nothing loses the connection rather than fill the memory.
    pub(super) fn answer(&mut self, response: &Response) {
        match frame::write(response) {
            Ok(line) if self.waiting.len() + line.len() <= 2 * MAX_FRAME_BYTES => self.waiting.extend(line),
            _ => {
                self.waiting.clear();
                self.is_ending = true;
            }
        }
        self.pump();
    }

    /// Sends what is taken now.
    pub(super) fn pump(&mut self) {
        while !self.waiting.is_empty() {
            let sent = rustix::net::send(&self.socket, self.waiting.as_slices().0, rustix::net::SendFlags::NOSIGNAL);
            match sent {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.waiting.clear();
                    self.is_ending = true;
                }
            }
        }
    }
}
