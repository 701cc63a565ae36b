//! One poll over descriptors that each stand for something.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Descriptors, and what each stands for.
#[derive(Debug)]
pub(super) struct Readiness<'f, T> {
    tokens: Vec<T>,
    fds: Vec<PollFd<'f>>,
}

impl<'f, T> Readiness<'f, T> {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self { tokens: Vec::new(), fds: Vec::new() }
    }

    /// Waits for bytes to read.
    pub(super) fn read(&mut self, token: T, fd: BorrowedFd<'f>) {
        self.add(token, fd, PollFlags::IN);
    }

    /// Waits for room to write.
    pub(super) fn write(&mut self, token: T, fd: BorrowedFd<'f>) {
        self.add(token, fd, PollFlags::OUT);
    }

    fn add(&mut self, token: T, fd: BorrowedFd<'f>, flags: PollFlags) {
        self.tokens.push(token);
        self.fds.push(PollFd::from_borrowed_fd(fd, flags));
    }

    /// Those on which something can be done, in the order in which they were added; none once the time is up, or after a signal.
    pub(super) fn wait(mut self, deadline: Option<Instant>) -> Vec<T> {
        let timeout = deadline.map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(left.subsec_nanos()) }
        });
        if poll(&mut self.fds, timeout.as_ref()).is_err() {
            return Vec::new();
        }
        self.tokens.into_iter().zip(&self.fds).filter(|(_, fd)| !fd.revents().is_empty()).map(|(token, _)| token).collect()
    }
}
