//! A tree by its root: every access names a path relative to it, and the kernel keeps it beneath.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::files::{Dir, beneath, chmod_by_descriptor};
use crate::signals;

/// The result of one access; the caller knows what to say about it.
pub(super) type Access<T> = Result<T, Errno>;

/// Permission bits that are taken over. What an agent sets beyond them never reaches the host.
pub(super) const PERMISSIONS: u32 = 0o777;

/// Whose tree it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Operator,
    Agent,
}

/// A tree.
#[derive(Clone, Copy)]
pub(super) struct Tree<'d> {
    root: &'d Dir,
    owner: Owner,
}

/// An error once somebody asks for the end: what is left of a tree is not walked, and whoever began the walk asks why it was so short.
pub(super) fn called_off() -> Access<()> {
    if signals::asked().is_some() { Err(Errno::CANCELED) } else { Ok(()) }
}

impl<'d> Tree<'d> {
    /// The operator's: what may not be read stays so.
    pub(super) fn operators(root: &'d Dir) -> Self {
        Self { root, owner: Owner::Operator }
    }

    /// What an agent left: where it took rights away from its owner, which is us, they are given back for good. Nothing is lost by
    /// that, for whatever is taken over is usable by its owner anyway.
    pub(super) fn agents(root: &'d Dir) -> Self {
        Self { root, owner: Owner::Agent }
    }

    /// Opens a directory of the tree; the empty path is the root.
    pub(super) fn dir(&self, path: &Path) -> Access<OwnedFd> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY, 0o700)
    }

    /// Opens a regular file for reading.
    pub(super) fn file(&self, path: &Path) -> Access<File> {
        // O_NONBLOCK: a fifo that took the file's place must not be waited for.
        let fd = self.open(path, OFlags::RDONLY | OFlags::NONBLOCK, 0o600)?;
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile { Ok(File::from(fd)) } else { Err(Errno::INVAL) }
    }

    /// The names in a directory and what they are, in byte order.
    pub(super) fn list(&self, path: &Path) -> Access<BTreeMap<OsString, Stat>> {
        called_off()?;
        let fd = self.dir(path)?;
        // Readable is not enough: without the right to search, nothing in it can be looked at.
        if self.owner == Owner::Agent {
            let mode = rustix::fs::fstat(&fd)?.st_mode & 0o7777;
            if mode & 0o700 != 0o700 {
                rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode | 0o700))?;
            }
        }
        let mut entries = BTreeMap::new();
        for entry in rustix::fs::Dir::read_from(&fd)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name.to_bytes());
                    entries.insert(name.to_owned(), stat);
                }
                Err(Errno::NOENT) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(entries)
    }

    /// What `path` is, if it is there and no symlink leads to it.
    pub(super) fn stat(&self, path: &Path) -> Access<Option<Stat>> {
        let (parent, name) = match self.parent(path) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(e) => return Err(e),
        };
        match rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What the root is.
    pub(super) fn root_stat(&self) -> Access<Stat> {
        rustix::fs::fstat(self.root)
    }

    /// The target of a symlink, as it is written.
    pub(super) fn target(&self, path: &Path) -> Access<OsString> {
        let (parent, name) = self.parent(path)?;
        let target = rustix::fs::readlinkat(&parent, &name, Vec::new())?;
        Ok(<OsString as std::os::unix::ffi::OsStringExt>::from_vec(target.into_bytes()))
    }

    /// The directory that holds `path`, for calls that take a descriptor and a name.
    pub(super) fn parent(&self, path: &Path) -> Access<(OwnedFd, OsString)> {
        let name = path.file_name().ok_or(Errno::INVAL)?.to_owned();
        let parent = path.parent().unwrap_or(Path::new(""));
        let fd = beneath(self.root, dot(parent), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok((fd, name))
    }

    fn open(&self, path: &Path, flags: OFlags, needed: u32) -> Access<OwnedFd> {
        let open = || beneath(self.root, dot(path), flags, Mode::empty());
        let held = match open() {
            Err(Errno::ACCESS) if self.owner == Owner::Agent => beneath(self.root, dot(path), OFlags::PATH, Mode::empty())?,
            answer => return answer,
        };
        let mode = rustix::fs::fstat(&held)?.st_mode & 0o7777;
        if mode & needed == needed {
            return Err(Errno::ACCESS);
        }
        chmod_by_descriptor(&held, mode | needed)?;
        open()
    }
}

/// The kernel has no empty path.
fn dot(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}

/// The type in a mode.
pub(super) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The last change of an inode in nanoseconds since 1970. No program can set it.
pub(super) fn changed(stat: &Stat) -> u64 {
    (stat.st_ctime as u64).saturating_mul(1_000_000_000).saturating_add(stat.st_ctime_nsec)
}

/// Why something was left out, in the system's words.
pub(super) fn words(errno: Errno) -> String {
    match errno {
        Errno::NAMETOOLONG => "it lies too deep".to_owned(),
        Errno::LOOP => "a symlink stands in the way".to_owned(),
        e => e.to_string(),
    }
}
