//! A child in namespaces of its own, with a descriptor that names it beyond any reuse of its number.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
///
/// The copy dies with this process, whenever that is, and has no descriptor but `lifeline` and `kept`: neither the lock of a bottle nor
/// the caller's output. `lifeline` is the child's end of a pipe or socket whose other end only this process has. The copy must end by
/// [`exit`]: the values that own its other descriptors must not be dropped.
pub fn into_namespaces(namespaces: i32, lifeline: BorrowedFd<'_>, kept: &[BorrowedFd<'_>]) -> io::Result<Cloned> {
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
        0 => match bind_to_parent(lifeline, kept) {
            Ok(()) => Ok(Cloned::Child),
            Err(error) => exit(error.raw_os_error().unwrap_or(1)),
        },
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
            // SAFETY: the kernel wrote a new descriptor that nobody else owns.
            Ok(Cloned::Parent { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
        }
    }
}

/// In the copy, before anything else. Order matters: the copy's own write end of the lifeline is closed first, and the signal is asked for
/// before the lifeline is looked at. The kernel closes the files of a process before it signals its children (do_exit), so a parent that
/// ended too early for the signal has already hung up.
fn bind_to_parent(lifeline: BorrowedFd<'_>, kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    close_all_but(lifeline, kept)?;
    bottle_init::sys::die_with_parent()?;
    let mut asked = [PollFd::from_borrowed_fd(lifeline, PollFlags::empty())];
    match rustix::io::retry_on_intr(|| poll(&mut asked, Some(&Timespec::default())))? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// Closes the gaps between the descriptors that are kept, and all above the highest.
fn close_all_but(lifeline: BorrowedFd<'_>, kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut numbers: Vec<u32> = kept.iter().chain([&lifeline]).map(|fd| fd.as_raw_fd().unsigned_abs()).collect();
    numbers.sort_unstable();
    let mut next = 0;
    for number in numbers {
        if number > next {
            close_range(next, number - 1)?;
        }
        next = number + 1;
    }
    close_range(next, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: this is a copy of a process. Whoever owns the descriptors in it neither uses them nor is dropped: see `into_namespaces`.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ends a copy: nothing of the supervisor's is flushed, dropped or run.
pub fn exit(code: i32) -> ! {
    // SAFETY: it does not return, and touches no memory of this process.
    unsafe { libc::_exit(code) }
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
