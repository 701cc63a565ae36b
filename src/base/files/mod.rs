//! Files and directories by descriptor: the path is walked once, with each step judged; afterwards only single names
//! beneath an open directory are used, so that nobody can move what lies in between.
//!
//! Invariants:
//! - No call here follows a symlink, except [`Dir::open`], which opens what the operator named.
//! - A file exists with mode 0600 or less until its content is complete and on disk; only then it gets its own mode, and only then its
//!   own name. So a key is never wider than 0600, a certificate is 0644 from the first instant under its name, and no reader ever sees
//!   an empty or half-written file. The umask has no part in it.
//! - A call that fails leaves nothing behind.
//!
//! Absent on purpose: a fallback for kernels without openat2 (before Linux 5.6). It would be the weaker path, and the less tested.

mod explain;
mod name;
mod read;
mod remove;
mod trust;
mod write;

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::error::Result;

pub use explain::failed;
pub(crate) use name::component;
pub use read::{entries, kind};
pub use write::TEMPORARY;
pub use write::random_hex;

/// Mode of what only the operator may read: keys, secrets, logs, state.
pub const PRIVATE: u32 = 0o600;
/// Mode of what every component may read: certificates.
pub const PUBLIC: u32 = 0o644;
/// Mode of every directory that is made here.
pub const PRIVATE_DIR: u32 = 0o700;

/// An open directory. The path is for messages and for children that need one; no call here walks it again.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens a directory that the operator named, through symlinks if there are any.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed("open", path, "openat", e))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens the private directory at an absolute `path`, and makes it, and whatever is missing above it, with mode 0700.
    ///
    /// Each step of the path is judged through the descriptor it is then walked by: it must belong to root or to us, and nobody else may
    /// write there, unless it is sticky like `/tmp`. The directory itself must be ours; if others may read it, it is narrowed.
    pub fn create_private(path: &Path) -> Result<Self> {
        trust::walk(path, trust::Missing::Make)
    }

    /// Like [`Dir::create_private`], but nothing is made: `None` if the directory is not there.
    pub fn open_private(path: &Path) -> Result<Option<Self>> {
        if matches!(rustix::fs::statat(CWD, path, AtFlags::empty()), Err(Errno::NOENT)) {
            return Ok(None);
        }
        trust::walk(path, trust::Missing::Refuse).map(Some)
    }

    /// The directory `name` in this one, made with mode 0700 if it is missing. A symlink there, or somebody else's directory, is refused.
    pub fn subdir(&self, name: impl AsRef<OsStr>) -> Result<Self> {
        let name = component(name.as_ref())?;
        match self.make(name) {
            Ok(dir) => Ok(dir),
            Err(Errno::EXIST) => {
                let path = self.path.join(name);
                let fd = self.open_dir(name).map_err(|e| failed("open", &path, "openat2", e))?;
                trust::private(&fd, &path)?;
                Ok(Self { fd, path })
            }
            Err(e) => Err(failed("create", &self.path.join(name), "mkdirat", e)),
        }
    }

    /// The directory `name` in this one, as it is.
    pub fn open_subdir(&self, name: impl AsRef<OsStr>) -> Result<Self> {
        let name = component(name.as_ref())?;
        let path = self.path.join(name);
        let fd = self.open_dir(name).map_err(|e| failed("open", &path, "openat2", e))?;
        Ok(Self { fd, path })
    }

    /// Makes the directory `name`, 0700 under any umask; `EEXIST` if anything has that name.
    pub fn make(&self, name: &OsStr) -> rustix::io::Result<Self> {
        rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(PRIVATE_DIR))?;
        let fd = self.open_dir(name).or_else(|e| {
            // A umask that takes our own bits leaves a directory that we cannot open for reading.
            if e != Errno::ACCESS {
                return Err(e);
            }
            let path = self.beneath(name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
            chmod_by_descriptor(&path, PRIVATE_DIR)?;
            self.open_dir(name)
        })?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(PRIVATE_DIR))?;
        Ok(Self { fd, path: self.path.join(name) })
    }

    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The same directory after it was renamed.
    pub fn moved_to(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    /// The same directory once more.
    pub fn again(&self) -> Result<Self> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 0).map_err(|e| failed("open", &self.path, "fcntl", e))?;
        Ok(Self { fd, path: self.path.clone() })
    }

    /// Where it was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `name` is, without following it; `None` if it is not there.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> Result<Option<Stat>> {
        let name = component(name.as_ref())?;
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(failed("look at", &self.path.join(name), "fstatat", e)),
        }
    }

    /// Opens the directory `name` in this one, never through a symlink.
    pub fn open_dir(&self, name: &OsStr) -> rustix::io::Result<OwnedFd> {
        self.beneath(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// Opens `name` in this directory and nowhere else.
    pub fn beneath(&self, name: &OsStr, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        beneath(&self.fd, name, flags, mode)
    }

    /// Makes renames and new names in this directory survive a power cut.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::fsync(&self.fd).map_err(|e| failed("sync", &self.path, "fsync", e))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens `path` relative to `dir`, without symlinks, magic links, `..` above it, or a controlling terminal.
pub fn beneath(dir: impl AsFd, path: impl AsRef<Path>, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NOCTTY };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    resolved(dir, path, flags, mode, resolve)
}

/// Opens `path` relative to `dir`, as openat2(2) resolves it.
pub fn resolved(dir: impl AsFd, path: impl AsRef<Path>, flags: OFlags, mode: Mode, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    loop {
        // EAGAIN: something was renamed during the walk, anywhere, so the kernel could not prove that it stayed beneath.
        match rustix::fs::openat2(&dir, path.as_ref(), flags, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => continue,
            answer => return answer,
        }
    }
}

/// Changes the mode of what an `O_PATH` descriptor holds, which fchmod refuses to do.
pub fn chmod_by_descriptor(fd: impl AsFd, mode: u32) -> rustix::io::Result<()> {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    rustix::fs::chmodat(CWD, link, Mode::from_raw_mode(mode), AtFlags::empty())
}
