//! A child in namespaces of its own, with a descriptor that names it beyond any reuse of its number.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::process::Pid;

/// What `clone3` made.
#[derive(Debug)]
pub enum Cloned {
    /// In the caller: the child.
    Parent {
        /// Its number in the caller's pid namespace.
        pid: Pid,
        /// Its pidfd, close-on-exec.
        pidfd: OwnedFd,
    },
    /// In the child: a copy of the caller.
    Child,
}

/// Only a user namespace.
pub const USER: i32 = libc::CLONE_NEWUSER;
/// The namespaces of a component that uses the host's network. Its cgroup namespace follows once it is in its groups.
pub const ALL_BUT_NETWORK: i32 = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
/// The namespaces of every other component.
pub const ALL: i32 = ALL_BUT_NETWORK | libc::CLONE_NEWNET;

/// Starts a copy of this process in new namespaces. The caller must have one thread only.
pub fn into_namespaces(namespaces: i32) -> io::Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: an all-zero `clone_args` asks for a plain fork.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = u64::from((namespaces | libc::CLONE_PIDFD).cast_unsigned());
    arguments.pidfd = (&raw mut pidfd).addr() as u64;
    arguments.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    // SAFETY: no memory is shared, so the child gets a copy of this single-threaded process, as after fork(2); the
    // structure outlives the call and its size is the true one.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
            // SAFETY: the kernel wrote a new descriptor that nobody else owns.
            Ok(Cloned::Parent { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
        }
    }
}

/// Drops the supplementary groups.
pub fn drop_groups() -> io::Result<()> {
    // SAFETY: a count of zero reads no list.
    let result = unsafe { libc::setgroups(0, std::ptr::null()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Becomes this user and group, in all three senses; the C library's wrapper would signal threads that are not there.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: both calls take integers.
    let result = unsafe {
        match libc::syscall(libc::SYS_setresgid, gid, gid, gid) {
            0 => libc::syscall(libc::SYS_setresuid, uid, uid, uid),
            error => error,
        }
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
