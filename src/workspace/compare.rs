//! Whether two nodes of two trees are the same.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::Node;
use super::tree::{Access, PERMISSIONS, Tree, called_off, file_type};

/// How much of two files is compared at a time.
const CHUNK: usize = 64 * 1024;

/// True when both are the same kind of node with the same content or target. Modes are the caller's.
pub(super) fn same_content(a: Tree<'_>, a_stat: &Stat, b: Tree<'_>, b_stat: &Stat, path: &Path) -> Access<bool> {
    if file_type(a_stat) != file_type(b_stat) {
        return Ok(false);
    }
    match file_type(a_stat) {
        FileType::Directory => Ok(true),
        FileType::Symlink => Ok(a.target(path)? == b.target(path)?),
        FileType::RegularFile if a_stat.st_size != b_stat.st_size => Ok(false),
        FileType::RegularFile => same_bytes(a.file(path)?, b.file(path)?).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO)),
        _ => Ok(false),
    }
}

/// True when the permission bits agree. A symlink's mean nothing.
pub(super) fn same_mode(a: &Stat, b: &Stat) -> bool {
    file_type(a) == FileType::Symlink || a.st_mode & PERMISSIONS == b.st_mode & PERMISSIONS
}

fn same_bytes(a: File, b: File) -> std::io::Result<bool> {
    let (mut a, mut b) = (BufReader::with_capacity(CHUNK, a), BufReader::with_capacity(CHUNK, b));
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        called_off()?;
        let count = fill(&mut a, &mut left)?;
        if count != fill(&mut b, &mut right)? || left[..count] != right[..count] {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
    }
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// What a stat says that a path is.
pub(super) fn node(tree: Tree<'_>, path: &Path, stat: &Stat) -> Access<Node> {
    Ok(match file_type(stat) {
        FileType::RegularFile => Node::File { bytes: stat.st_size as u64 },
        FileType::Directory => Node::Dir,
        FileType::Symlink => Node::Symlink { target: tree.target(path)? },
        _ => Node::Other,
    })
}
