//! Who made a call that waits: its memory, its descriptors, and the way that its paths take.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::notify::Call;

/// Bytes of the longest path, with its end (PATH_MAX).
const MAX_PATH: usize = 4096;
/// A page may be the last that is there.
const PAGE: u64 = 4096;

/// Who made a call.
pub(crate) struct Caller {
    thread: i32,
    process: i32,
    pidfd: OwnedFd,
}

/// The directory of a path and the name in it.
pub(crate) struct Entry {
    pub(crate) parent: OwnedFd,
    pub(crate) name: OsString,
}

impl Caller {
    pub(crate) fn of(call: &Call) -> Result<Self, Errno> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", call.thread)).map_err(|_| Errno::SRCH)?;
        let process = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok()).ok_or(Errno::SRCH)?;
        let pidfd = pidfd_open(Pid::from_raw(process).ok_or(Errno::SRCH)?, PidfdFlags::empty())?;
        Ok(Self { thread: call.thread, process, pidfd })
    }

    pub(crate) fn descriptor(&self, number: i32) -> Result<OwnedFd, Errno> {
        pidfd_getfd(&self.pidfd, number, PidfdGetfdFlags::empty())
    }

    /// So many bytes of its memory.
    pub(crate) fn read(&self, from: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; length];
        match self.read_into(from, &mut bytes)? {
            count if count == length => Ok(bytes),
            _ => Err(Errno::FAULT),
        }
    }

    fn read_into(&self, from: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        let base = usize::try_from(from).map_err(|_| Errno::FAULT)?;
        let remote = [RemoteIoVec { base, len: bytes.len() }];
        let thread = nix::unistd::Pid::from_raw(self.thread);
        process_vm_readv(thread, &mut [std::io::IoSliceMut::new(bytes)], &remote).map_err(|errno| Errno::from_raw_os_error(errno as i32))
    }

    /// A path in its memory, up to its end.
    pub(crate) fn path(&self, from: u64) -> Result<PathBuf, Errno> {
        let mut path = Vec::new();
        while path.len() < MAX_PATH {
            let at = from.checked_add(path.len() as u64).ok_or(Errno::FAULT)?;
            // Up to the end of the page: the next one need not be there.
            let mut part = vec![0; usize::try_from(PAGE - at % PAGE).unwrap_or(1)];
            let count = self.read_into(at, &mut part)?;
            match part[..count].iter().position(|byte| *byte == 0) {
                Some(end) => {
                    path.extend_from_slice(&part[..end]);
                    return Ok(PathBuf::from(OsString::from_vec(path)));
                }
                None if count == 0 => return Err(Errno::FAULT),
                None => path.extend_from_slice(&part[..count]),
            }
        }
        Err(Errno::NAMETOOLONG)
    }

    /// Opens what the caller's path leads to. This process may follow links to descriptors and directories of processes that the caller may
    /// not; so it follows none but those that programs use to shorten a path, and these as the caller's.
    pub(crate) fn open(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let own = [PathBuf::from("/proc/self"), PathBuf::from("/proc/thread-self"), PathBuf::from(format!("/proc/{}", self.process))];
        let rest = own.iter().find_map(|own| path.strip_prefix(own).ok());
        let descriptors = rest.and_then(|rest| rest.strip_prefix("fd").ok()).or_else(|| path.strip_prefix("/dev/fd").ok());
        if let Some(rest) = descriptors {
            let mut rest = rest.components();
            let number = rest.next().and_then(|first| first.as_os_str().to_str()?.parse().ok()).ok_or(Errno::NOENT)?;
            return open_below(self.descriptor(number)?, rest.as_path());
        }
        if let Some(rest) = rest.and_then(|rest| rest.strip_prefix("cwd").ok()) {
            return open_below(self.directory()?, rest);
        }
        if path.is_absolute() { open_at(CWD, path) } else { open_at(self.directory()?.as_fd(), path) }
    }

    /// The directory that a path counts from, and the path.
    pub(crate) fn base(&self, dirfd: i32, path: &Path) -> Result<Option<OwnedFd>, Errno> {
        Ok(match dirfd {
            _ if path.is_absolute() => None,
            libc::AT_FDCWD => Some(self.directory()?),
            number => Some(self.descriptor(number)?),
        })
    }

    /// The entry that a path names, which is not followed itself.
    pub(crate) fn entry(&self, dirfd: i32, path: &Path) -> Result<Entry, Errno> {
        let bytes = path.as_os_str().as_bytes();
        let end = bytes.iter().rposition(|byte| *byte != b'/').ok_or(Errno::BUSY)? + 1;
        let begin = bytes[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let (parent, name) = (OsStr::from_bytes(&bytes[..begin]), OsStr::from_bytes(&bytes[begin..end]));
        if matches!(name.as_bytes(), b"." | b"..") {
            return Err(Errno::BUSY);
        }
        let parent = if parent.is_empty() { Path::new(".") } else { Path::new(parent) };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = match self.base(dirfd, path)? {
            Some(base) => openat2(base, parent, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?,
            None => openat2(CWD, parent, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?,
        };
        Ok(Entry { parent, name: name.to_owned() })
    }

    /// The caller's working directory.
    fn directory(&self) -> Result<OwnedFd, Errno> {
        rustix::fs::open(format!("/proc/{0}/task/{0}/cwd", self.thread), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    }
}

fn open_below(base: OwnedFd, rest: &Path) -> Result<OwnedFd, Errno> {
    if rest.as_os_str().is_empty() { Ok(base) } else { open_at(base.as_fd(), rest) }
}

fn open_at(base: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    openat2(base, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}
