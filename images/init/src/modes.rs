//! Set-group-id bits in a tree of the host: a directory may have one, for it only passes the group on; a file that others on the host could
//! execute with the operator's group does not get it, as on a file system without such files.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, chmodat, fstat, openat2};
use rustix::io::Errno;

use crate::caller::Caller;
use crate::notify::{self, Call};

/// The calls that are answered here, with the argument that holds the mode.
const MODES: &[(libc::c_long, usize)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1),
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (libc::SYS_fchmodat2, 2),
];

/// The calls.
pub(crate) fn calls() -> impl Iterator<Item = libc::c_long> {
    MODES.iter().map(|(call, _)| *call)
}

/// Answers a change of a mode.
pub(crate) fn serve(listener: &OwnedFd, call: &Call) {
    let mode = MODES.iter().find(|(number, _)| *number == call.number).map_or(0, |(_, index)| call.arguments[*index] as u32);
    // The kernel takes the mode from a register that nobody changes while the call waits.
    if mode & libc::S_ISGID == 0 {
        return notify::proceed(listener.as_fd(), call.id);
    }
    let result = target(call).and_then(|target| {
        if !notify::still_waits(listener.as_fd(), call.id) {
            return Err(Errno::SRCH);
        }
        let is_directory = FileType::from_raw_mode(fstat(&target)?.st_mode) == FileType::Directory;
        let mode = if is_directory { mode & 0o3777 } else { mode & 0o1777 };
        chmodat(CWD, format!("/proc/self/fd/{}", target.as_raw_fd()), Mode::from_raw_mode(mode), AtFlags::empty())
    });
    notify::answer(listener.as_fd(), call.id, result.map_err(Errno::raw_os_error));
}

fn target(call: &Call) -> Result<OwnedFd, Errno> {
    let caller = Caller::of(call)?;
    let number = |index: usize| i32::from_le_bytes(call.arguments[index].to_le_bytes()[..4].try_into().unwrap_or_default());
    let (dirfd, path, flags) = match call.number {
        libc::SYS_fchmod => return caller.descriptor(number(0)),
        libc::SYS_fchmodat => (number(0), caller.path(call.arguments[1])?, 0),
        libc::SYS_fchmodat2 => (number(0), caller.path(call.arguments[1])?, number(3)),
        _ => (libc::AT_FDCWD, caller.path(call.arguments[0])?, 0),
    };
    if path.as_os_str().is_empty() {
        return if flags & libc::AT_EMPTY_PATH != 0 && dirfd != libc::AT_FDCWD { caller.descriptor(dirfd) } else { Err(Errno::NOENT) };
    }
    let follow = if flags & libc::AT_SYMLINK_NOFOLLOW != 0 { OFlags::NOFOLLOW } else { OFlags::empty() };
    let flags = OFlags::PATH | OFlags::CLOEXEC | follow;
    match caller.base(dirfd, &path)? {
        Some(base) => openat2(base, &path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS),
        // As the caller's, where the path leads to a descriptor of its own.
        None => caller.open(&path),
    }
}
