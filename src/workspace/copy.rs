//! A full copy of a tree: what the agent works on when it must not see the host's own.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::Skipped;
use super::tree::{PERMISSIONS, Tree, called_off, file_type, words};
use crate::error::{Error, Result};
use crate::files::{Dir, PRIVATE, PRIVATE_DIR, beneath, chmod_by_descriptor, failed};

/// The most bytes of one copy_file_range or read.
const CHUNK: usize = 1 << 20;

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Regular files.
    pub files: u64,
    /// Directories, without the tree's own.
    pub dirs: u64,
    /// Symlinks.
    pub links: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Devices, sockets, fifos, and what we may not read.
    pub skipped: Vec<Skipped>,
}

/// Copies `source` into the empty directory `target`: files with their modification times, directories and symlinks as they are, modes
/// without setuid, setgid and sticky. Shares blocks where the file system can. What cannot be copied because of what it is is skipped
/// and listed; what the target refuses is an error.
pub fn copy(source: &Dir, target: &Dir) -> Result<CopyReport> {
    let own = identity(&rustix::fs::fstat(target).map_err(|e| failed("look at", target.path(), "fstat", e))?);
    let (from, to) = (Tree::operators(source), Tree::operators(target));
    let mut copying =
        Copying { from, to, own, report: CopyReport::default(), ahead: vec![PathBuf::new()], dirs: Vec::new(), linked: HashMap::new() };
    while let Some(dir) = copying.ahead.pop() {
        let entries = match from.list(&dir) {
            Ok(entries) => entries,
            Err(e) if dir.as_os_str().is_empty() => return Err(failed("read", source.path(), "getdents64", e)),
            Err(e) => {
                copying.skip(dir, words(e));
                continue;
            }
        };
        for (name, stat) in entries {
            let path = dir.join(name);
            called_off().map_err(|e| copy_failed(target, &path, "copy", e))?;
            copying.node(&path, &stat).map_err(|(call, e)| copy_failed(target, &path, call, e))?;
        }
    }
    called_off().map_err(|e| failed("copy to", target.path(), "copy", e))?;
    // Directories get their own modes last, and the deepest first: one that may not be written could not be filled.
    for (path, stat) in copying.dirs.iter().rev() {
        settle(to, path, stat).map_err(|(call, e)| copy_failed(target, path, call, e))?;
    }
    copying.report.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(copying.report)
}

struct Copying<'d> {
    from: Tree<'d>,
    to: Tree<'d>,
    /// The target, which may lie inside the source.
    own: (u64, u64),
    report: CopyReport,
    ahead: Vec<PathBuf>,
    dirs: Vec<(PathBuf, Stat)>,
    /// Copies of files with further names, by the source's number.
    linked: HashMap<(u64, u64), PathBuf>,
}

/// The call that failed, on the target or while reading the source, or before which the copy was cancelled; and its error.
pub(super) type FailedCall = (&'static str, Errno);

impl Copying<'_> {
    fn node(&mut self, path: &Path, stat: &Stat) -> Result<(), FailedCall> {
        match file_type(stat) {
            FileType::Directory if identity(stat) == self.own => self.skip(path.to_owned(), "it is where the copy goes".to_owned()),
            FileType::Directory => self.dir(path, stat)?,
            FileType::Symlink => match self.from.target(path) {
                Ok(target) => self.link(path, &target)?,
                Err(e) => self.skip(path.to_owned(), words(e)),
            },
            FileType::RegularFile => match self.from.file(path) {
                Ok(file) => self.file(path, stat, &file)?,
                Err(e) => self.skip(path.to_owned(), words(e)),
            },
            _ => self.skip(path.to_owned(), format!("it is {}", crate::files::kind(stat.st_mode))),
        }
        Ok(())
    }

    fn dir(&mut self, path: &Path, stat: &Stat) -> Result<(), FailedCall> {
        let (parent, name) = self.to.parent(path).map_err(|e| ("openat2", e))?;
        rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(PRIVATE_DIR)).map_err(|e| ("mkdirat", e))?;
        let made = beneath(&parent, &name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).map_err(|e| ("openat2", e))?;
        chmod_by_descriptor(&made, PRIVATE_DIR).map_err(|e| ("chmod", e))?;
        self.report.dirs += 1;
        self.dirs.push((path.to_owned(), *stat));
        self.ahead.push(path.to_owned());
        Ok(())
    }

    fn link(&mut self, path: &Path, target: &OsStr) -> Result<(), FailedCall> {
        let (parent, name) = self.to.parent(path).map_err(|e| ("openat2", e))?;
        rustix::fs::symlinkat(target, &parent, &name).map_err(|e| ("symlinkat", e))?;
        self.report.links += 1;
        Ok(())
    }

    fn file(&mut self, path: &Path, stat: &Stat, from: &File) -> Result<(), FailedCall> {
        let (parent, name) = self.to.parent(path).map_err(|e| ("openat2", e))?;
        if stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&identity(stat)) {
                let (directory, first) = self.to.parent(first).map_err(|e| ("openat2", e))?;
                rustix::fs::linkat(&directory, &first, &parent, &name, AtFlags::empty()).map_err(|e| ("linkat", e))?;
                self.report.files += 1;
                return Ok(());
            }
            self.linked.insert(identity(stat), path.to_owned());
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
        let new = beneath(&parent, &name, flags, Mode::from_raw_mode(PRIVATE)).map_err(|e| ("openat2", e))?;
        self.report.bytes += content(from, &new)?;
        rustix::fs::fchmod(&new, Mode::from_raw_mode(stat.st_mode & PERMISSIONS)).map_err(|e| ("fchmod", e))?;
        rustix::fs::futimens(&new, &times(stat)).map_err(|e| ("futimens", e))?;
        self.report.files += 1;
        Ok(())
    }

    fn skip(&mut self, path: PathBuf, why: String) {
        self.report.skipped.push(Skipped { path, why });
    }
}

fn settle(to: Tree<'_>, path: &Path, stat: &Stat) -> Result<(), FailedCall> {
    // Through its parent, as when it was made: the whole path may be one component too long for any call.
    let (parent, name) = to.parent(path).map_err(|e| ("openat2", e))?;
    let dir = beneath(&parent, &name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map_err(|e| ("openat2", e))?;
    rustix::fs::futimens(&dir, &times(stat)).map_err(|e| ("futimens", e))?;
    rustix::fs::fchmod(&dir, Mode::from_raw_mode(stat.st_mode & PERMISSIONS)).map_err(|e| ("fchmod", e))
}

fn copy_failed(target: &Dir, path: &Path, call: &str, errno: Errno) -> Error {
    failed("copy to", &target.path().join(path), call, errno)
}

/// Copies a file's content: as a clone, or extent by extent, so that holes stay holes; inside the kernel where it can. Bytes that were copied.
pub(super) fn content(from: &File, to: &OwnedFd) -> Result<u64, FailedCall> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return rustix::fs::fstat(to).map(|stat| stat.st_size as u64).map_err(|e| ("fstat", e));
    }
    let size = rustix::fs::fstat(from).map_err(|e| ("fstat", e))?.st_size as u64;
    let mut at = 0;
    while at < size {
        let begin = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(begin) => begin,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            // Unknown to this file system: all of it is data.
            Err(_) => at,
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(begin)).unwrap_or(size).min(size);
        extent(from, to, begin, end)?;
        at = end.max(begin + 1);
    }
    // The size is the one seen at the start, even if the file grew or shrank since.
    rustix::fs::ftruncate(to, size).map_err(|e| ("ftruncate", e))?;
    Ok(size)
}

fn extent(from: &File, to: &OwnedFd, begin: u64, end: u64) -> Result<(), FailedCall> {
    let (mut source, mut target) = (begin, begin);
    while source < end {
        called_off().map_err(|e| ("copy_file_range", e))?;
        let count = usize::try_from(end - source).unwrap_or(CHUNK).min(CHUNK);
        match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), count) {
            // Some file systems report 0 for what they cannot copy; a plain read tells.
            Ok(0) => return by_hand(from, to, source, end),
            Ok(_) | Err(Errno::INTR) => {}
            // Between file systems, or on one that has no such call.
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM) => return by_hand(from, to, source, end),
            Err(e) => return Err(("copy_file_range", e)),
        }
    }
    Ok(())
}

fn by_hand(from: &File, to: &OwnedFd, mut at: u64, end: u64) -> Result<(), FailedCall> {
    let mut buffer = vec![0; CHUNK];
    rustix::fs::seek(to, SeekFrom::Start(at)).map_err(|e| ("lseek", e))?;
    while at < end {
        called_off().map_err(|e| ("read", e))?;
        let count = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        let count = match rustix::io::pread(from, &mut buffer[..count], at) {
            Ok(0) => break,
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(("read", e)),
        };
        write_all(to, &buffer[..count])?;
        at += count as u64;
    }
    Ok(())
}

pub(super) fn write_all(to: impl AsFd, mut bytes: &[u8]) -> Result<(), FailedCall> {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(e) => return Err(("write", e)),
        }
    }
    Ok(())
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}
