//! Tar as images have it: USTAR headers (POSIX.1-1988), each field written here, nothing taken from a file system, no extension of any
//! kind. What a header cannot hold is an error.

use std::io::{self, Read, Write};

use crate::path::EntryPath;

const BLOCK: usize = 512;
/// Eleven octal digits.
const MAX_FILE_BYTES: u64 = 0o77_777_777_777;
/// Seven octal digits.
const MAX_OWNER_ID: u32 = 0o7_777_777;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A directory, 0755.
    Directory,
    /// A file with that many bytes.
    File {
        /// Bytes.
        size: u64,
        /// 0755 instead of 0644.
        executable: bool,
        /// 04000 beside it.
        setuid: bool,
    },
    /// A symbolic link, 0777, and its target as it is.
    Link(&'a [u8]),
}

/// What all entries of an archive share.
#[derive(Clone, Copy, Debug, Default)]
pub struct Common {
    /// User and group.
    pub owner: u32,
    /// Seconds since 1970.
    pub mtime: u64,
}

/// The header of an entry, or why there is none.
pub fn header(path: &EntryPath, kind: Kind<'_>, common: Common) -> Result<[u8; BLOCK], String> {
    let mut name = path.as_bytes().to_vec();
    let (mode, size, flag, target): (u32, u64, u8, &[u8]) = match kind {
        Kind::Directory => {
            name.push(b'/');
            (0o755, 0, b'5', b"")
        }
        Kind::File { size, executable, setuid } => {
            (if executable { 0o755 } else { 0o644 } | if setuid { 0o4000 } else { 0 }, size, b'0', b"")
        }
        Kind::Link(target) => (0o777, 0, b'2', target),
    };
    let (prefix, name) = split(&name).ok_or_else(|| format!("`{path}` is longer than a tar header can hold"))?;
    if target.len() > 100 || (flag == b'2' && (target.is_empty() || target.contains(&0))) {
        return Err(format!("the target of the link `{path}` is empty, has a NUL, or is longer than the 100 bytes of a tar header"));
    }
    if size > MAX_FILE_BYTES {
        return Err(format!("`{path}` has {size} bytes, more than a tar header can hold"));
    }
    if common.owner > MAX_OWNER_ID || common.mtime > MAX_FILE_BYTES {
        return Err(format!("the owner or the time of `{path}` is more than a tar header can hold"));
    }
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(100, format!("{mode:07o}").as_bytes());
    put(108, format!("{:07o}", common.owner).as_bytes());
    put(116, format!("{:07o}", common.owner).as_bytes());
    put(124, format!("{size:011o}").as_bytes());
    put(136, format!("{:011o}", common.mtime).as_bytes());
    put(148, b"        ");
    put(156, &[flag]);
    put(157, target);
    put(257, b"ustar\x0000");
    put(329, b"0000000");
    put(337, b"0000000");
    put(345, prefix);
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

/// The parts of a name: up to 155 bytes, a slash that is not written, and up to 100 bytes. The shortest first part is taken.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((b"", name));
    }
    let slashes = name.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    slashes
        .map(|at| (&name[..at], &name[at + 1..]))
        .find(|(prefix, rest)| (1..=155).contains(&prefix.len()) && (1..=100).contains(&rest.len()))
}

/// Writes entries one after the other. Whoever calls keeps the order.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    common: Common,
}

impl<W: Write> Writer<W> {
    /// An archive whose entries share owner and time.
    pub fn new(out: W, common: Common) -> Self {
        Self { out, common }
    }

    /// Writes an entry. `content` is read once, to its end, and must have the size that the header says.
    pub fn put(&mut self, path: &EntryPath, kind: Kind<'_>, content: &mut dyn Read) -> io::Result<()> {
        let header = header(path, kind, self.common).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        self.out.write_all(&header)?;
        let Kind::File { size, .. } = kind else { return Ok(()) };
        let changed = |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("`{path}` {why} while it was read"));
        if io::copy(&mut content.take(size), &mut self.out)? != size {
            return Err(changed("became shorter"));
        }
        if content.read(&mut [0])? != 0 {
            return Err(changed("became longer"));
        }
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        self.out.write_all(&[0; BLOCK][..padding as usize])
    }

    /// Ends the archive with two zero blocks and not a byte more.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }
}
