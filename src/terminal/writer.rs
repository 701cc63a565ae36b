//! Non-blocking writes to bottle's own outputs: a terminal may be stopped, and a pipe may be full.
//!
//! The blocking mode belongs to the open file, which the parent process shares. So it stays unchanged, and a terminal or pipe is opened
//! again. That fails for a file of another user, as after `su`. Then bottle polls before each write, and interrupts a write that blocks all
//! the same, because another process was faster or a terminal needs more space than it reported.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::{Errno, Result};
use rustix::net::{SendFlags, send};

use crate::sys::interrupt::Interrupt;

/// For a write to a shared open file.
const WRITE_TIMEOUT: Duration = Duration::from_millis(20);
/// Bytes of one write to a shared open file: a writable pipe has this much space (PIPE_BUF of pipe(7)).
const COMPONENT: usize = 4096;
/// To poll without waiting.
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// An output that does not block.
#[derive(Debug)]
pub struct Output {
    fd: OwnedFd,
    how: How,
}

/// How a write is kept from blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The open file is ours and non-blocking, or a regular file.
    Mode,
    /// It is a socket, and each call is non-blocking.
    Flag,
    /// Each call has a timeout.
    Bound,
}

impl Output {
    /// One of our standard outputs; `None` if it is closed.
    pub fn to(output: impl AsFd) -> Option<Self> {
        let kind = FileType::from_raw_mode(fstat(&output).ok()?.st_mode);
        let opened = if kind.is_fifo() || kind.is_char_device() { open_anew(output.as_fd()) } else { None };
        if let Some(fd) = opened {
            return Some(Self::nonblocking(fd));
        }
        let how = match kind {
            FileType::Socket => How::Flag,
            FileType::RegularFile | FileType::BlockDevice => How::Mode,
            _ => How::Bound,
        };
        Some(Self { fd: rustix::io::fcntl_dupfd_cloexec(output, 3).ok()?, how })
    }

    /// A descriptor whose open file is in non-blocking mode.
    pub fn nonblocking(fd: OwnedFd) -> Self {
        Self { fd, how: How::Mode }
    }

    /// True if a write may take [`WRITE_TIMEOUT`]. A caller with other work should not write twice in a row.
    pub fn may_take_long(&self) -> bool {
        self.how == How::Bound
    }

    /// Writes what fits now; `AGAIN` if nothing does.
    pub fn write(&self, bytes: &[u8]) -> Result<usize> {
        match self.how {
            How::Mode => rustix::io::write(&self.fd, bytes),
            How::Flag => send(&self.fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            How::Bound => {
                let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
                if poll(&mut fds, Some(&NOW))? == 0 {
                    return Err(Errno::AGAIN);
                }
                bounded(|| rustix::io::write(&self.fd, &bytes[..bytes.len().min(COMPONENT)]))
            }
        }
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads available bytes; `AGAIN` if another process was faster.
pub fn read(input: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    bounded(|| rustix::io::read(&input, &mut *buffer))
}

/// Runs a call with a timeout; `AGAIN` if it would block.
fn bounded(call: impl FnOnce() -> Result<usize>) -> Result<usize> {
    // Without a timer the call could block forever.
    let bound = Interrupt::every(WRITE_TIMEOUT).map_err(|_| Errno::NOMEM)?;
    let result = call();
    drop(bound);
    match result {
        Err(Errno::INTR) => Err(Errno::AGAIN),
        result => result,
    }
}

/// Opens a terminal or pipe again. Anybody may open the controlling terminal by its special name.
fn open_anew(output: BorrowedFd<'_>) -> Option<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = open(format!("/proc/self/fd/{}", output.as_raw_fd()), flags, Mode::empty()).ok();
    // The kernel reports the session of the controlling terminal only (ioctl_tty(2): TIOCGSID).
    opened.or_else(|| rustix::termios::tcgetsid(output).ok().and_then(|_| open("/dev/tty", flags, Mode::empty()).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(output: &Output) -> usize {
        let mut taken = 0;
        loop {
            match output.write(&[b'x'; 10_000]) {
                Ok(count) => taken += count,
                Err(error) => {
                    assert_eq!(error, Errno::AGAIN);
                    return taken;
                }
            }
        }
    }

    #[test]
    fn a_full_pipe_or_socket_takes_nothing_and_says_so() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let output = Output::to(&writer).unwrap();
        assert_eq!(output.how, How::Mode);
        assert!(filled(&output) > 0);
        assert!(!rustix::fs::fcntl_getfl(&writer).unwrap().contains(OFlags::NONBLOCK), "the caller's open file is as it was");
        drop(reader);
        assert_eq!(output.write(b"x"), Err(Errno::PIPE));

        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let output = Output::to(&ours).unwrap();
        assert_eq!(output.how, How::Flag);
        assert!(filled(&output) > 0);
    }

    #[test]
    fn a_pipe_that_cannot_be_opened_anew_is_written_to_in_pieces() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let output = Output { fd: writer, how: How::Bound };
        assert_eq!(filled(&output), 1 << 16);
        let mut buffer = vec![0; 1 << 16];
        assert_eq!(rustix::io::read(&reader, &mut buffer), Ok(1 << 16));
        assert_eq!(filled(&output), 1 << 16);
    }

    #[test]
    fn a_read_of_what_somebody_else_has_taken_does_not_block() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        assert_eq!(read(&reader, &mut [0; 4]), Err(Errno::AGAIN));
        rustix::io::write(&writer, b"ab").unwrap();
        assert_eq!(read(&reader, &mut [0; 4]), Ok(2));
    }
}
