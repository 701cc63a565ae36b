//! One path of the operator's tree is replaced, in one step that a crash cannot halve, and only if it is still what was decided about.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid};
use rustix::io::Errno;

use super::copy::content;
use super::tree::{Access, Tree, file_type};
use crate::files::{Dir, PRIVATE_DIR, beneath, chmod_by_descriptor};

/// What is put at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum New {
    Nothing,
    /// A directory with this mode.
    Dir(u32),
    /// What stands ready under this number.
    Staged,
    /// The content of the file that stands ready: the one in place has further names.
    Content,
}

/// The number under which something stands ready, as a name.
pub(super) fn staged(index: usize) -> String {
    index.to_string()
}

/// Replaces what is at `path`, if that is `expected`; `Errno::STALE` if it is not. Whatever was there lies in `staging` afterwards.
pub(super) fn replace(tree: Tree<'_>, path: &Path, expected: Option<&Stat>, new: New, index: usize, staging: &Dir) -> Access<()> {
    let (parent, name) = tree.parent(path)?;
    let is_dir = expected.is_some_and(|stat| file_type(stat) == FileType::Directory);
    match (expected, new) {
        (None, New::Nothing) => Ok(()),
        (None, New::Dir(_)) => rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(PRIVATE_DIR)).map_err(stale_if_there),
        (None, New::Staged | New::Content) => put(&parent, &name, index, staging),
        (Some(_), New::Dir(_)) if is_dir => Ok(()),
        (Some(_), _) if is_dir => {
            rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR)?;
            replace(tree, path, None, new, index, staging)
        }
        (Some(stat), New::Content) => in_place(&parent, &name, stat, index, staging),
        (Some(stat), New::Staged) => exchange(&parent, &name, stat, index, staging),
        (Some(stat), New::Nothing | New::Dir(_)) => {
            let away = format!("away-{index}");
            rustix::fs::renameat(&parent, &name, staging, &away)?;
            if !is_same(staging, away.as_ref(), stat) {
                rustix::fs::renameat_with(staging, &away, &parent, &name, RenameFlags::NOREPLACE)?;
                return Err(Errno::STALE);
            }
            replace(tree, path, None, new, index, staging)
        }
    }
}

/// Gives a directory its mode, once all in it is done.
pub(super) fn settle(tree: Tree<'_>, path: &Path, mode: u32) -> Access<()> {
    let (parent, name) = tree.parent(path)?;
    let fd = beneath(&parent, &name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let special = rustix::fs::fstat(&fd)?.st_mode & 0o7000;
    chmod_by_descriptor(&fd, mode | special)
}

/// A new file belongs to whom the one before did, or to the owner of its directory: to root only what root had.
pub(super) fn own(file: &OwnedFd, before: Option<(u32, u32)>, directory: &Stat) -> Access<()> {
    let is_root = rustix::process::geteuid().is_root();
    let shares_group = directory.st_mode & 0o2000 != 0;
    let (uid, gid) = match before {
        Some((uid, gid)) => (Some(uid), Some(gid)),
        None if is_root => (Some(directory.st_uid), Some(directory.st_gid)),
        None if shares_group => (None, Some(directory.st_gid)),
        None => return Ok(()),
    };
    let now = rustix::fs::fstat(file)?;
    let uid = uid.filter(|uid| *uid != now.st_uid);
    let gid = gid.filter(|gid| *gid != now.st_gid);
    if uid.is_none() && gid.is_none() {
        return Ok(());
    }
    match rustix::fs::fchown(file, uid.map(Uid::from_raw), gid.map(Gid::from_raw)) {
        // An ordinary user cannot give files away; whoever made this one could write that one, too.
        Err(Errno::PERM) if !is_root => Ok(()),
        answer => answer,
    }
}

fn put(parent: &OwnedFd, name: &OsStr, index: usize, staging: &Dir) -> Access<()> {
    match rustix::fs::renameat_with(staging, staged(index), parent, name, RenameFlags::NOREPLACE) {
        // A file system without this flag, as NFS: a hard link is as exclusive.
        Err(Errno::INVAL) => rustix::fs::linkat(staging, staged(index), parent, name, AtFlags::empty()).map_err(stale_if_there),
        answer => answer.map_err(stale_if_there),
    }
}

/// Both change places, and only then it is looked at what came out: an editor that saves at this moment is not overwritten.
fn exchange(parent: &OwnedFd, name: &OsStr, expected: &Stat, index: usize, staging: &Dir) -> Access<()> {
    match rustix::fs::renameat_with(staging, staged(index), parent, name, RenameFlags::EXCHANGE) {
        Ok(()) if is_same(staging, staged(index).as_ref(), expected) => Ok(()),
        Ok(()) => {
            rustix::fs::renameat_with(staging, staged(index), parent, name, RenameFlags::EXCHANGE)?;
            Err(Errno::STALE)
        }
        Err(Errno::INVAL | Errno::NOSYS) => {
            if !is_same(parent, name, expected) {
                return Err(Errno::STALE);
            }
            rustix::fs::renameat(staging, staged(index), parent, name)
        }
        Err(Errno::NOENT) => Err(Errno::STALE),
        Err(e) => Err(e),
    }
}

fn in_place(parent: &OwnedFd, name: &OsStr, expected: &Stat, index: usize, staging: &Dir) -> Access<()> {
    let file = beneath(parent, name, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty())?;
    if !same(&rustix::fs::fstat(&file)?, expected) {
        return Err(Errno::STALE);
    }
    let from = staging.beneath(staged(index).as_ref(), OFlags::RDONLY, Mode::empty())?;
    rustix::fs::ftruncate(&file, 0)?;
    content(&std::fs::File::from(from), &file).map(drop).map_err(|(_, e)| e)?;
    let mode = rustix::fs::statat(staging, staged(index), AtFlags::SYMLINK_NOFOLLOW)?.st_mode;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777))
}

fn is_same(parent: impl std::os::fd::AsFd, name: &OsStr, expected: &Stat) -> bool {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| same(&stat, expected))
}

/// The same inode with the same content. A rename changes the time of the inode's change, so that does not count.
pub(super) fn same(stat: &Stat, expected: &Stat) -> bool {
    let key = |stat: &Stat| (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_mode);
    key(stat) == key(expected)
}

fn stale_if_there(errno: Errno) -> Errno {
    if errno == Errno::EXIST { Errno::STALE } else { errno }
}
