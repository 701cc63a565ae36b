//! The socket between the supervisor and the inside half: one message per packet, with descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::spec::Failure;

/// From the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToInit {
    /// The specification, in a memory file, and the descriptors that it names by number.
    Setup,
    /// Every sidecar is ready: the agent may run.
    Start,
    /// Send this signal to the agent's process group.
    Signal(i32),
}

/// To the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromInit {
    /// The listening sockets, in the order of the specification.
    Listeners,
    /// The terminal's master side.
    Terminal,
    /// The agent can start at once.
    Prepared,
    /// The agent's program could not be executed: the error number.
    NotExecuted(i32),
    /// The agent ended by itself.
    Exited(u8),
    /// A signal ended the agent.
    Signaled(i32),
    /// The agent has stopped itself with this signal, as a program does at Ctrl-Z.
    Stopped(i32),
    /// Setting up failed.
    Failed(Failure),
}

/// No message is longer.
const MAX_MESSAGE_BYTES: usize = 4096;
/// The kernel's own limit for one message (SCM_MAX_FD).
const MAX_FDS: usize = 253;

/// One end of the socket.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Wraps a sequential-packet socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Sends a message.
    pub fn send(&self, message: &impl Serialize) -> io::Result<()> {
        self.send_with::<OwnedFd>(message, &[])
    }

    /// Sends a message with descriptors.
    pub fn send_with<F: AsFd>(&self, message: &impl Serialize, fds: &[F]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_fd().as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
        loop {
            match sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(&bytes)], control, MsgFlags::MSG_NOSIGNAL, None) {
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Receives a message; the end of the stream is an error of kind `UnexpectedEof`.
    pub fn receive<M: DeserializeOwned>(&self) -> io::Result<(M, Vec<Option<OwnedFd>>)> {
        let mut bytes = vec![0; MAX_MESSAGE_BYTES];
        let mut space = nix::cmsg_space!([RawFd; MAX_FDS]);
        let (length, fds) = loop {
            let mut buffers = [IoSliceMut::new(&mut bytes)];
            match recvmsg::<()>(self.0.as_raw_fd(), &mut buffers, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
                Ok(message) => {
                    let mut fds = Vec::new();
                    for control in message.cmsgs()? {
                        if let ControlMessageOwned::ScmRights(raw) = control {
                            // SAFETY: the kernel just made these descriptors for this process; nobody else owns them.
                            fds.extend(raw.into_iter().map(|fd| Some(unsafe { OwnedFd::from_raw_fd(fd) })));
                        }
                    }
                    break (message.bytes, fds);
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((serde_json::from_slice(&bytes[..length])?, fds))
    }
}

/// Two ends of a new socket.
pub fn pair() -> io::Result<(Channel, Channel)> {
    let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((Channel(one), Channel(other)))
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
