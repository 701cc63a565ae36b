//! New files: complete, on disk and with their mode before they have a name.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{Dir, PRIVATE, component, failed};
use crate::error::Result;

/// How the names of unfinished files start. One that is found was left by a crash.
pub const TEMPORARY: &str = ".unfinished-";

/// What becomes of a file that has the name already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Keep,
    Replace,
}

/// What is on the disk when the call returns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// The file and its name.
    Synced,
    /// The file, so that its name can never lead to half of it.
    Whole,
    /// Perhaps nothing.
    Buffered,
}

impl Dir {
    /// Writes the new file `name` with exactly `mode`. Anything that has the name, a dangling symlink too, is an error and stays.
    pub fn write_new(&self, name: impl AsRef<OsStr>, bytes: &[u8], mode: u32) -> Result<()> {
        self.put(name.as_ref(), bytes, mode, Existing::Keep, Durability::Synced)
    }

    /// Puts a complete file in the place of `name`, whatever it was, except a directory. A reader has the old file or the new one. The
    /// old inode is not touched, so a link planted there leads nowhere. On disk when it returns.
    pub fn replace(&self, name: impl AsRef<OsStr>, bytes: &[u8], mode: u32) -> Result<()> {
        self.put(name.as_ref(), bytes, mode, Existing::Replace, Durability::Synced)
    }

    /// Like [`Dir::replace`], but a power cut may lose it: for what means nothing after a reboot. A crash of the program loses nothing.
    pub fn replace_unsynced(&self, name: impl AsRef<OsStr>, bytes: &[u8], mode: u32) -> Result<()> {
        self.put(name.as_ref(), bytes, mode, Existing::Replace, Durability::Buffered)
    }

    /// Like [`Dir::replace`], but a power cut may bring the old file back. It never leaves an empty one.
    pub fn replace_whole(&self, name: impl AsRef<OsStr>, bytes: &[u8], mode: u32) -> Result<()> {
        self.put(name.as_ref(), bytes, mode, Existing::Replace, Durability::Whole)
    }

    /// Like [`Dir::replace`], with the bytes of a reader.
    pub fn copy_in(&self, name: impl AsRef<OsStr>, from: &mut dyn std::io::Read, mode: u32) -> Result<()> {
        let name = component(name.as_ref())?;
        let explain = |(call, errno)| failed("write", &self.path.join(name), call, errno);
        let (temporary, fd) = self.unfinished().map_err(explain)?;
        let mut file = std::fs::File::from(fd);
        let copied = std::io::copy(from, &mut file).map_err(|e| ("write", Errno::from_io_error(&e).unwrap_or(Errno::IO)));
        let fd = OwnedFd::from(file);
        let done =
            copied.and_then(|_| fill(&fd, &[], mode, Durability::Synced)).and_then(|()| self.settle(&temporary, name, Existing::Replace));
        if let Err(why) = done {
            let _ = rustix::fs::unlinkat(&self.fd, &temporary, AtFlags::empty());
            return Err(explain(why));
        }
        self.sync()
    }

    /// A new empty file for appending, 0600, under its own name from the start: a log.
    pub fn create_log(&self, name: impl AsRef<OsStr>) -> Result<std::fs::File> {
        let name = component(name.as_ref())?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::APPEND;
        let opened = self.beneath(name, flags, Mode::from_raw_mode(PRIVATE)).and_then(|fd| {
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(PRIVATE))?;
            Ok(fd)
        });
        opened.map(std::fs::File::from).map_err(|e| failed("create", &self.path.join(name), "openat2", e))
    }

    /// Removes what a crash left unfinished in this directory. Goes on after an error and reports the first.
    pub fn sweep_unfinished(&self) -> Result<()> {
        self.sweep(TEMPORARY).into_iter().try_for_each(|(_, error)| Err(error))
    }

    /// Removes everything whose name starts so; what is left of it, each with its error.
    pub fn sweep(&self, prefix: &str) -> Vec<(OsString, crate::error::Error)> {
        let names = super::entries(self).unwrap_or_default().into_iter();
        let unfinished = names.filter(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes()));
        unfinished.filter_map(|name| self.remove_tree(&name).err().map(|error| (name, error))).collect()
    }

    fn put(&self, name: &OsStr, bytes: &[u8], mode: u32, existing: Existing, durability: Durability) -> Result<()> {
        let name = component(name)?;
        let explain = |(call, errno)| failed("write", &self.path.join(name), call, errno);
        let (temporary, fd) = self.unfinished().map_err(explain)?;
        let done = fill(&fd, bytes, mode, durability).and_then(|()| self.settle(&temporary, name, existing));
        if let Err(why) = done {
            // The first error is the one to report; a file that cannot be unlinked is found by sweep_unfinished.
            let _ = rustix::fs::unlinkat(&self.fd, &temporary, AtFlags::empty());
            return Err(explain(why));
        }
        match durability {
            Durability::Synced => self.sync(),
            Durability::Whole | Durability::Buffered => Ok(()),
        }
    }

    /// A new empty file with an unused name, 0600 or less.
    pub fn unfinished(&self) -> Result<(OsString, OwnedFd), (&'static str, Errno)> {
        loop {
            let name = OsString::from(format!("{TEMPORARY}{}", random_hex().map_err(|e| ("getrandom", e))?));
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
            match self.beneath(&name, flags, Mode::from_raw_mode(PRIVATE)) {
                Ok(fd) => return Ok((name, fd)),
                Err(Errno::EXIST) => continue,
                Err(e) => return Err(("openat2", e)),
            }
        }
    }

    /// Gives the finished file its name.
    fn settle(&self, temporary: &OsStr, name: &OsStr, existing: Existing) -> Result<(), (&'static str, Errno)> {
        if existing == Existing::Replace {
            return rustix::fs::renameat(&self.fd, temporary, &self.fd, name).map_err(|e| ("renameat", e));
        }
        match rustix::fs::renameat_with(&self.fd, temporary, &self.fd, name, RenameFlags::NOREPLACE) {
            // File systems such as NFS cannot; a hard link is as exclusive everywhere.
            Err(Errno::INVAL) => {
                rustix::fs::linkat(&self.fd, temporary, &self.fd, name, AtFlags::empty()).map_err(|e| ("linkat", e))?;
                rustix::fs::unlinkat(&self.fd, temporary, AtFlags::empty()).map_err(|e| ("unlinkat", e))
            }
            answer => answer.map_err(|e| ("renameat2", e)),
        }
    }
}

/// Order matters: content first, then the disk, and the wider mode last.
fn fill(fd: &OwnedFd, mut bytes: &[u8], mode: u32, durability: Durability) -> Result<(), (&'static str, Errno)> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return Err(("write", Errno::NOSPC)),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => continue,
            Err(e) => return Err(("write", e)),
        }
    }
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)).map_err(|e| ("fchmod", e))?;
    match durability {
        Durability::Synced | Durability::Whole => rustix::fs::fsync(fd).map_err(|e| ("fsync", e)),
        Durability::Buffered => Ok(()),
    }
}

/// Sixteen hexadecimal digits that nobody can guess.
pub fn random_hex() -> rustix::io::Result<String> {
    let mut bytes = [0; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e),
        }
    }
    Ok(crate::digest::hex(&bytes))
}
