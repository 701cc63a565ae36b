//! How a container's first process and the supervisor find each other: a socket in a directory that only this container sees.
//!
//! The supervisor waits there; the first process connects, is told what to do, and lives as long as the connection. So the supervisor's
//! end, however it comes, is the end of every container, without the engine's help. It also replaces `exec` into the agent's container:
//! an exec'd program outlives its client, gets no signals, and loses its exit code when the daemon is restarted.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use bottle_init::control::Channel;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, getsockopt, sockopt};
use rustix::fs::{AtFlags, Mode, chmodat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::backend::ids::Ids;
use crate::backend::provision::give;
use crate::error::{Error, Result};
use crate::files::Dir;
use crate::render::compose::JOIN_SOCKET;

/// A place where one container is awaited.
#[derive(Debug)]
pub(super) struct Awaited {
    socket: OwnedFd,
    directory: Dir,
}

/// A container's first process.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) control: Channel,
}

impl Awaited {
    /// Opens the socket, for this user only.
    pub(super) fn open(directory: Dir, ids: Ids) -> Result<Self> {
        let failed = |e: io::Error| {
            Error::failed(format!("cannot listen in {}", directory.path().display()), e, "see if /proc is mounted, and raise `ulimit -n`")
        };
        let open = || -> io::Result<OwnedFd> {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
            // Through the descriptor: a path may be longer than the 107 bytes that an address takes.
            let path = format!("/proc/self/fd/{}/{JOIN_SOCKET}", directory.fd().as_raw_fd());
            nix::sys::socket::bind(socket.as_raw_fd(), &UnixAddr::new(path.as_str())?)?;
            chmodat(directory.fd(), JOIN_SOCKET, Mode::from_raw_mode(0o600), AtFlags::empty())?;
            nix::sys::socket::listen(&socket, Backlog::new(1)?)?;
            Ok(socket)
        };
        let socket = open().map_err(failed)?;
        give(&directory, &[JOIN_SOCKET], ids)?;
        Ok(Self { socket, directory })
    }

    /// Readable once somebody has connected.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes the first process that connected, and nobody after it.
    pub(super) fn accept(self, component: &str, ids: Ids) -> Result<Joined> {
        let failed = |cause: String| {
            Error::failed(
                format!("cannot take over the container of `{component}`"),
                cause,
                "the engine must run on this machine, beside bottle: not in a virtual machine, not in another container",
            )
        };
        let accept = || -> io::Result<_> {
            let fd = accept4(self.socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
            Ok(crate::sys::child::own(fd))
        };
        let control = accept().map_err(|e| failed(e.to_string()))?;
        let _ = rustix::fs::unlinkat(self.directory.fd(), JOIN_SOCKET, AtFlags::empty());
        let peer = getsockopt(&control, sockopt::PeerCredentials).map_err(|e| failed(e.to_string()))?;
        if peer.uid() != ids.uid {
            return Err(failed(format!("user {} connected, and {} was expected", peer.uid(), ids.uid)));
        }
        // 0: it is in a pid namespace that is not below ours.
        let pid = Pid::from_raw(peer.pid()).ok_or_else(|| failed("its process cannot be seen from here".to_owned()))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| failed(e.to_string()))?;
        Ok(Joined { pid, pidfd, control: Channel::new(control) })
    }
}
