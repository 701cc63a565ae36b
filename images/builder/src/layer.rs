//! A layer on top of the layers below it. Whoever made the image is not trusted: every path is resolved inside the tree, nothing is
//! made but directories, files and links, and nothing is setuid.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use bottle_base::digest::sha256_of;
use bottle_base::files::{Dir, resolved};
use flate2::read::MultiGzDecoder;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, linkat, mkdirat, openat, symlinkat, unlinkat};
use rustix::io::Errno;

/// Where a layer lies in the archive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) size: u64,
}

/// A name that deletes what a lower layer has (OCI image specification, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// The name that hides everything below its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Unpacked bytes of one layer at most.
const MAX_FILE_BYTES: u64 = 64 << 30;

/// Resolution that cannot leave the tree, whatever links the image has.
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// The layer's bytes, plain or gzip.
fn open(archive: &Path, at: &Span) -> io::Result<Box<dyn Read>> {
    let mut file = File::open(archive)?;
    file.seek(SeekFrom::Start(at.start))?;
    let mut magic = [0; 2];
    let is_gzip = at.size > 2 && file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    file.seek(SeekFrom::Start(at.start))?;
    let raw = file.take(at.size);
    Ok(if is_gzip { Box::new(MultiGzDecoder::new(raw).take(MAX_FILE_BYTES)) } else { Box::new(raw) })
}

/// The digest of the layer's plain bytes.
pub(crate) fn digest(archive: &Path, at: &Span) -> Result<String, String> {
    open(archive, at).and_then(sha256_of).map_err(|e| e.to_string())
}

/// Refuses a layer of somebody else's that is no tar archive, or names what lies outside of the image.
pub(crate) fn check(layer: File) -> Result<(), String> {
    let mut layer = tar::Archive::new(layer);
    for entry in layer.entries().map_err(|e| e.to_string())? {
        let entry = entry.map_err(|e| e.to_string())?;
        let path = entry.path_bytes();
        if path.starts_with(b"/") || path.split(|byte| *byte == b'/').any(|part| part == b"..") {
            return Err(format!("`{}` leads out of the image", bottle_contract::Untrusted::new(&path)));
        }
    }
    Ok(())
}

/// Unpacks the layer into the tree. `is_cancelled` is asked before each entry.
pub(crate) fn unpack(archive: &Path, at: &Span, tree: &Dir, is_cancelled: &dyn Fn() -> bool) -> Result<(), String> {
    let mut layer = tar::Archive::new(open(archive, at).map_err(|e| e.to_string())?);
    for entry in layer.entries().map_err(|e| e.to_string())? {
        if is_cancelled() {
            return Err("it was called off".to_owned());
        }
        let mut entry = entry.map_err(|e| e.to_string())?;
        let path = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        place(&mut entry, &path, tree).map_err(|e| format!("{}: {e}", bottle_contract::Untrusted::new(path.as_os_str().as_bytes())))?;
    }
    Ok(())
}

fn place(entry: &mut tar::Entry<'_, impl Read>, path: &Path, tree: &Dir) -> io::Result<()> {
    let refused = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    if path.components().any(|part| matches!(part, Component::ParentDir)) {
        return Err(refused("a path with `..`"));
    }
    let path: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let Some(name) = path.file_name().map(OsStr::to_owned) else { return Ok(()) };
    let parent = directory(tree, path.parent().unwrap_or(Path::new("")))?;
    if name.as_bytes() == OPAQUE {
        return empty(&parent);
    }
    if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
        return remove(&parent, OsStr::from_bytes(hidden));
    }
    // No setuid, no sticky but on directories; the owner must be able to read and remove what is unpacked.
    let mode = entry.header().mode()? & 0o777;
    let kind = entry.header().entry_type();
    if kind.is_dir() {
        match mkdirat(&parent, &name, Mode::from_raw_mode(mode | 0o700)) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) if openat(&parent, &name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).is_ok() => {
                return Ok(());
            }
            Err(Errno::EXIST) => {
                remove(&parent, &name)?;
                return Ok(mkdirat(&parent, &name, Mode::from_raw_mode(mode | 0o700))?);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    remove(&parent, &name)?;
    if kind.is_symlink() {
        let target = entry.link_name_bytes().ok_or_else(|| refused("a link without a target"))?;
        symlinkat(OsStr::from_bytes(&target), &parent, &name)?;
    } else if kind.is_hard_link() {
        let target = entry.link_name_bytes().ok_or_else(|| refused("a link without a target"))?;
        let target: PathBuf =
            Path::new(OsStr::from_bytes(&target)).components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let from = directory(tree, target.parent().unwrap_or(Path::new("")))?;
        linkat(&from, target.file_name().ok_or_else(|| refused("a link to nothing"))?, &parent, &name, AtFlags::empty())?;
    } else if kind.is_file() || kind.is_contiguous() {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&parent, &name, flags, Mode::from_raw_mode(mode | 0o600))?);
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode | 0o600))?;
        io::copy(entry, &mut file)?;
        file.flush()?;
    }
    // Devices, fifos and sockets are not made: a bottle has its own /dev.
    Ok(())
}

/// A directory of the tree, through the image's own links, making what is missing.
fn directory(tree: &Dir, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut reached = PathBuf::from(".");
    let mut current = resolved(tree.fd(), &reached, flags, Mode::empty(), INSIDE)?;
    for part in path.components() {
        reached.push(part);
        current = match resolved(tree.fd(), &reached, flags, Mode::empty(), INSIDE) {
            Ok(next) => next,
            Err(Errno::NOENT) => {
                // A link that leads nowhere gives way to the directory that the layer needs there.
                if mkdirat(&current, part.as_os_str(), Mode::from_raw_mode(0o755)) == Err(Errno::EXIST) {
                    remove(&current, part.as_os_str())?;
                    mkdirat(&current, part.as_os_str(), Mode::from_raw_mode(0o755))?;
                }
                resolved(tree.fd(), &reached, flags, Mode::empty(), INSIDE)?
            }
            Err(errno) => return Err(errno.into()),
        };
    }
    Ok(current)
}

/// Removes what has that name in a lower layer, a whole tree if it is one; nothing there is success.
fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {
            let inner = openat(parent, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            empty(&inner)?;
            Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
        }
        Err(errno) => Err(errno.into()),
    }
}

fn empty(directory: &OwnedFd) -> io::Result<()> {
    let names: Vec<_> = rustix::fs::Dir::read_from(directory)?.filter_map(Result::ok).map(|e| e.file_name().to_owned()).collect();
    for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
        remove(directory, OsStr::from_bytes(name.to_bytes()))?;
    }
    Ok(())
}
