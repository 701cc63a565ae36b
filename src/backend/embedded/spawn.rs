//! Starting the inside half of a component: a child in new namespaces, mapped, and named by its pidfd.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bottle_init::control::Channel;
use bottle_init::{ARGV0, CONTROL_FD};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use rustix::process::Pid;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set, set_capabilities};

use crate::backend::ids::{INSIDE, Ids};
use crate::sys::clone::{ALL, ALL_BUT_NETWORK, Cloned, become_user, drop_groups, exit, into_namespaces};

/// A process that is pid 1 of a component.
#[derive(Debug)]
pub struct Spawned {
    /// Its number on the host.
    pub pid: Pid,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// The way to talk to it.
    pub control: Channel,
}

/// A byte that says: your identity is mapped, go on.
const MAPPED: &[u8] = b"m";

/// Starts a component.
pub fn spawn(own_executable: BorrowedFd<'_>, ids: Ids, share_network: bool) -> io::Result<Spawned> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    match into_namespaces(if share_network { ALL_BUT_NETWORK } else { ALL }, theirs.as_fd(), &[own_executable])? {
        Cloned::Child => {
            let error = become_inside(own_executable, theirs.as_fd(), ids);
            // The supervisor hears of it by the end of the socket; there is no other way to say more.
            exit(error.raw_os_error().unwrap_or(1))
        }
        Cloned::Parent { pid, pidfd } => {
            drop(theirs);
            let spawned = Spawned { pid, pidfd, control: Channel::new(ours) };
            if let Err(error) = map(pid, ids).and_then(|()| rustix::io::write(&spawned.control, MAPPED).map_err(Into::into)) {
                let _ = rustix::process::pidfd_send_signal(&spawned.pidfd, rustix::process::Signal::KILL);
                return Err(error);
            }
            Ok(spawned)
        }
    }
}

/// One user and one group: nobody else exists inside.
pub(crate) fn map(pid: Pid, ids: Ids) -> io::Result<()> {
    let pid = pid.as_raw_nonzero();
    fs::write(format!("/proc/{pid}/uid_map"), format!("{INSIDE} {} 1\n", ids.uid))?;
    if !ids.foreign {
        // Without privileges a group map may only be written once group lists can no longer be changed.
        fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
    }
    fs::write(format!("/proc/{pid}/gid_map"), format!("{INSIDE} {} 1\n", ids.gid))
}

/// In the child: from a copy of the supervisor to a fresh program that knows nothing of it.
fn become_inside(own_executable: BorrowedFd<'_>, control: BorrowedFd<'_>, ids: Ids) -> io::Error {
    match try_become_inside(own_executable, control, ids) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_become_inside(own_executable: BorrowedFd<'_>, control: BorrowedFd<'_>, ids: Ids) -> io::Result<std::convert::Infallible> {
    // A session of its own: what is typed at the operator's terminal does not signal the components.
    rustix::process::setsid()?;
    let mut byte = [0; 1];
    if rustix::io::read(control, &mut byte)? != 1 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if ids.foreign {
        drop_groups()?;
    }
    become_user(INSIDE, INSIDE)?;
    // Capabilities over the new namespaces must survive the execution of a program by somebody who is not root.
    let permitted = capabilities(None)?.permitted;
    set_capabilities(None, CapabilitySets { effective: permitted, permitted, inheritable: permitted })?;
    for bit in (0..64).map(|n| 1u64 << n) {
        if permitted.bits() & bit != 0 {
            configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(bit), true)?;
        }
    }
    bottle_init::sys::die_with_parent()?;
    let control = rustix::io::fcntl_dupfd_cloexec(control, CONTROL_FD + 1)?;
    let executable = rustix::io::fcntl_dupfd_cloexec(own_executable, CONTROL_FD + 1)?;
    bottle_init::sys::place_fd(control.as_fd(), CONTROL_FD)?;
    bottle_init::sys::close_from_on_exec(CONTROL_FD.unsigned_abs() + 1)?;
    let name = std::ffi::CString::new(ARGV0)?;
    Err(bottle_init::sys::execute(Some(executable.as_fd()), &name, std::slice::from_ref(&name), &[]))
}
