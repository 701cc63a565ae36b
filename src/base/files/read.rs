//! Reading what may be anything: bounded, regular files only, never through a link, never blocking.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use bottle_contract::Untrusted;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Dir, component, failed};
use crate::error::{Error, Result};

impl Dir {
    /// Opens the regular file `name` for reading. Symlinks, fifos, devices and directories are refused; nothing blocks.
    pub fn open_file(&self, name: impl AsRef<OsStr>) -> Result<File> {
        let name = component(name.as_ref())?;
        let path = self.path.join(name);
        // O_NONBLOCK: the open of a fifo would wait for a writer.
        let fd = self.beneath(name, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).map_err(|e| failed("open", &path, "openat2", e))?;
        let stat = rustix::fs::fstat(&fd).map_err(|e| failed("look at", &path, "fstat", e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let what = format!("`{}` is not a regular file", Untrusted::new(path.as_os_str().as_encoded_bytes()));
            return Err(Error::failed(what, kind(stat.st_mode), "something else was put there; remove it"));
        }
        Ok(File::from(fd))
    }

    /// The content of the regular file `name`, if it has at most `most` bytes.
    pub fn read_bounded(&self, name: impl AsRef<OsStr>, most: u64) -> Result<Vec<u8>> {
        let name = component(name.as_ref())?;
        let path = self.path.join(name);
        let mut bytes = Vec::new();
        // One byte more tells a file of the greatest size from a larger one; the size that fstat tells may grow meanwhile.
        let read = self.open_file(name)?.take(most.saturating_add(1)).read_to_end(&mut bytes);
        let shown = Untrusted::new(path.as_os_str().as_encoded_bytes());
        read.map_err(|e| Error::failed(format!("cannot read `{shown}`"), format!("read: {e}"), "the cause is the system's own words"))?;
        if bytes.len() as u64 > most {
            return Err(Error::failed(
                format!("`{shown}` is too large"),
                format!("it has more than {most} bytes"),
                "it is not what bottle wrote",
            ));
        }
        Ok(bytes)
    }
}

/// The names in a directory, without `.` and `..`, in byte order.
pub fn entries(dir: &Dir) -> Result<Vec<OsString>> {
    list(dir).map_err(|e| failed("read", &dir.path, "getdents64", e))
}

pub(super) fn list(dir: &Dir) -> rustix::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&dir.fd)? {
        match entry {
            Ok(entry) => match entry.file_name().to_bytes() {
                b"." | b".." => {}
                name => names.push(OsStr::from_bytes(name).to_owned()),
            },
            Err(Errno::NOENT) => break,
            Err(e) => return Err(e),
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What an inode is, in one word.
pub fn kind(mode: u32) -> &'static str {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symlink",
        FileType::Fifo => "a fifo",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "of unknown type",
    }
}
