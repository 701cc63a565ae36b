//! A tree is copied within one file system, or removed: by descriptors, one directory at a time, with nothing followed.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, XattrFlags, copy_file_range, fchmod, fgetxattr, flistxattr,
    fsetxattr, fstat, ftruncate, futimens, linkat, mkdirat, mknodat, openat, readlinkat, seek, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

/// Bounds of one copy.
const MAX_NODES: u64 = 2_000_000;
const MAX_BYTES: u64 = 64 << 30;
/// The deepest directory: each level keeps two descriptors open.
const MAX_DEPTH: usize = 400;
/// Bytes between two looks at whether the copy is still wanted.
const CHUNK: usize = 16 << 20;
/// Bytes of all extended attributes of a file (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const MAX_ATTRIBUTE: usize = 1 << 16;
/// What a copy has of its source's mode. The kernel has dropped setuid bits from these files already.
const MODE: u32 = 0o7777;

/// A copy that is under way.
pub(crate) struct Copying<'g> {
    goes_on: &'g dyn Fn() -> bool,
    nodes: u64,
    bytes: u64,
    /// Files with further names, by number, and their copies.
    linked: HashMap<(u64, u64), OwnedFd>,
}

type Place<'p> = (&'p OwnedFd, &'p OsStr);

impl<'g> Copying<'g> {
    /// Asks `goes_on` again and again; false ends it.
    pub(crate) fn new(goes_on: &'g dyn Fn() -> bool) -> Self {
        Self { goes_on, nodes: 0, bytes: 0, linked: HashMap::new() }
    }

    /// Copies what is at one place to another, where nothing is yet.
    pub(crate) fn node(&mut self, from: Place<'_>, to: Place<'_>) -> Result<(), Errno> {
        self.at_depth(from, to, 0)
    }

    fn at_depth(&mut self, from: Place<'_>, to: Place<'_>, depth: usize) -> Result<(), Errno> {
        self.nodes += 1;
        if self.nodes > MAX_NODES || depth > MAX_DEPTH {
            return Err(Errno::XDEV);
        }
        if self.nodes.is_multiple_of(64) {
            self.check()?;
        }
        let stat = statat(from.0, from.1, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return self.directory(from, to, &stat, depth),
            FileType::RegularFile => return self.file(from, to, &stat),
            FileType::Symlink => symlinkat(readlinkat(from.0, from.1, Vec::new())?, to.0, to.1)?,
            kind @ (FileType::Fifo | FileType::Socket) => mknodat(to.0, to.1, kind, Mode::from_raw_mode(stat.st_mode & 0o777), 0)?,
            // An agent makes no devices.
            _ => return Err(Errno::XDEV),
        }
        utimensat(to.0, to.1, &times(&stat), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn directory(&mut self, from: Place<'_>, to: Place<'_>, stat: &Stat, depth: usize) -> Result<(), Errno> {
        let source = open(from, OFlags::RDONLY | OFlags::DIRECTORY)?;
        mkdirat(to.0, to.1, Mode::RWXU)?;
        let copy = open(to, OFlags::RDONLY | OFlags::DIRECTORY)?;
        for name in names(&source)? {
            self.at_depth((&source, &name), (&copy, &name), depth + 1)?;
        }
        attributes(&source, &copy)?;
        // Its mode last: one that may not be written could not be filled.
        fchmod(&copy, Mode::from_raw_mode(stat.st_mode & MODE))?;
        futimens(&copy, &times(stat))
    }

    fn file(&mut self, from: Place<'_>, to: Place<'_>, stat: &Stat) -> Result<(), Errno> {
        let key = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && let Some(copy) = self.linked.get(&key)
        {
            let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
            return linkat(rustix::fs::CWD, path, to.0, to.1, AtFlags::SYMLINK_FOLLOW);
        }
        let source = open(from, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let stat = fstat(&source)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::STALE);
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = openat(to.0, to.1, flags, Mode::RUSR | Mode::WUSR)?;
        self.content(&source, &copy, stat.st_size as u64)?;
        attributes(&source, &copy)?;
        fchmod(&copy, Mode::from_raw_mode(stat.st_mode & MODE))?;
        futimens(&copy, &times(&stat))?;
        if stat.st_nlink > 1 {
            self.linked.insert(key, copy);
        }
        Ok(())
    }

    fn content(&mut self, from: &OwnedFd, to: &OwnedFd, size: u64) -> Result<(), Errno> {
        if rustix::fs::ioctl_ficlone(to, from).is_ok() {
            return Ok(());
        }
        let mut at = 0;
        while at < size {
            let begin = match seek(from, SeekFrom::Data(at)) {
                Ok(begin) => begin,
                // Nothing but a hole up to the end.
                Err(Errno::NXIO) => break,
                Err(_) => at,
            };
            let end = seek(from, SeekFrom::Hole(begin)).unwrap_or(size).min(size);
            let (mut source, mut target) = (begin, begin);
            while source < end {
                let count = usize::try_from(end - source).unwrap_or(CHUNK).min(CHUNK);
                let copied = match copy_file_range(from, Some(&mut source), to, Some(&mut target), count) {
                    Err(Errno::INTR) => 0,
                    Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) | Ok(0) => {
                        by_hand(from, to, &mut source, &mut target)?
                    }
                    other => other?,
                };
                self.bytes += copied as u64;
                if self.bytes > MAX_BYTES {
                    return Err(Errno::XDEV);
                }
                self.check()?;
            }
            at = end.max(begin + 1);
        }
        ftruncate(to, size)
    }

    fn check(&self) -> Result<(), Errno> {
        if (self.goes_on)() { Ok(()) } else { Err(Errno::TIMEDOUT) }
    }
}

/// Where the kernel does not copy by itself. The end of a file that was cut meanwhile is an error: the copy would not be whole.
fn by_hand(from: &OwnedFd, to: &OwnedFd, source: &mut u64, target: &mut u64) -> Result<usize, Errno> {
    let mut buffer = vec![0; 1 << 16];
    let count = rustix::io::pread(from, &mut buffer, *source)?;
    if count == 0 {
        return Err(Errno::STALE);
    }
    let mut rest = &buffer[..count];
    while !rest.is_empty() {
        let written = rustix::io::pwrite(to, rest, *target)?;
        *target += written as u64;
        rest = &rest[written..];
    }
    *source += count as u64;
    Ok(count)
}

/// Removes a tree. What is gone already is no error.
pub(crate) fn remove(parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    removed(parent, name, 0)
}

fn removed(parent: &OwnedFd, name: &OsStr, depth: usize) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(e) => return Err(e),
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) if depth <= MAX_DEPTH => {}
        Err(e) => return Err(e),
    }
    let directory = open((parent, name), OFlags::RDONLY | OFlags::DIRECTORY)?;
    if fstat(&directory)?.st_mode & 0o700 != 0o700 {
        fchmod(&directory, Mode::RWXU)?;
    }
    for name in names(&directory)? {
        removed(&directory, &name, depth + 1)?;
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

pub(crate) fn is_empty(parent: &OwnedFd, name: &OsStr) -> Result<bool, Errno> {
    Ok(names(&open((parent, name), OFlags::RDONLY | OFlags::DIRECTORY)?)?.is_empty())
}

/// The directory above.
pub(crate) fn above(directory: impl AsFd) -> Result<OwnedFd, Errno> {
    openat(directory, "..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn open((parent, name): Place<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(parent, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn names(directory: &OwnedFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        match entry?.file_name().to_bytes() {
            b"." | b".." => {}
            name => names.push(OsStr::from_bytes(name).to_owned()),
        }
    }
    Ok(names)
}

/// Extended attributes of the user's own name space; an agent has no others.
fn attributes(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let mut list = vec![0u8; MAX_ATTRIBUTE];
    let length = match flistxattr(from, &mut list[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(e) => return Err(e),
    };
    for name in list[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")) {
        let name = OsStr::from_bytes(name);
        let mut value = vec![0u8; MAX_ATTRIBUTE];
        match fgetxattr(from, name, &mut value[..]) {
            Ok(length) => fsetxattr(to, name, &value[..length], XattrFlags::empty())?,
            Err(Errno::NODATA) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}
