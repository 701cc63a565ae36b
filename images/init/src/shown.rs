//! Trees of the host in which nothing of the host answers.
//!
//! The kernel finds a socket and a FIFO by the inode of its file, through every mount and also on a read-only one. An overlay has inodes
//! of its own: the files are seen through it, but whoever listens on them, now or later, is not reached.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mkdirat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    open_tree,
};

use crate::root::{STAGE, attach, tmpfs};
use crate::spec::{Failure, Mount};

/// The second layer below every tree: an overlay without changes needs two.
const EMPTY: &str = "empty";

/// Replaces each read-only directory of the host by an overlay of it. True if one of them stays as it is: a mount below it would not be
/// seen through an overlay, the tree may lie on as many overlays as the kernel stacks, or the kernel has none.
///
/// The layers are attached to the old root, which takes them along when it is left.
pub(crate) fn cover(mounts: &[Mount], sources: &mut [Vec<OwnedFd>]) -> Result<bool, Failure> {
    let failed = |e: std::io::Error| Failure::new("prepare the trees of the host", e);
    let nosuid = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let stage = tmpfs("size=1048576,mode=0700", nosuid).map_err(|e| failed(e.into()))?;
    mkdirat(&stage, EMPTY, Mode::from_raw_mode(0o755)).map_err(|e| failed(e.into()))?;
    attach(&stage, CWD, STAGE).map_err(|e| failed(e.into()))?;
    let mut staged = Vec::new();
    for (place, (mount, sources)) in mounts.iter().zip(sources).enumerate() {
        if let (Mount::Bind { writable: false, .. }, [tree]) = (mount, sources.as_mut_slice())
            && is_directory(tree).map_err(failed)?
        {
            let name = place.to_string();
            mkdirat(&stage, &name, Mode::from_raw_mode(0o700)).map_err(|e| failed(e.into()))?;
            attach(&*tree, &stage, &name).map_err(|e| failed(e.into()))?;
            staged.push((format!("{STAGE}/{name}"), tree));
        }
    }
    let mounted = std::fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
    let mut bare = false;
    for (path, tree) in staged {
        let covered = if has_mounts_below(&mounted, &path) { None } else { overlay(&path).ok() };
        *tree = match covered {
            Some(overlay) => overlay,
            None => {
                bare = true;
                again(&path).map_err(failed)?
            }
        };
    }
    Ok(bare)
}

fn is_directory(tree: &OwnedFd) -> std::io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode) == FileType::Directory)
}

/// A tree that is attached already, for another place.
fn again(path: &str) -> std::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(CWD, path, flags)?)
}

fn overlay(path: &str) -> rustix::io::Result<OwnedFd> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), "lowerdir", format!("{path}:{STAGE}/{EMPTY}"))?;
    // Extended attributes of the user's own name space: the others need privileges on the host.
    fsconfig_set_flag(fs.as_fd(), "userxattr")?;
    fsconfig_create(fs.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// True if the table of mounts (proc_pid_mountinfo(5)) has one below the path.
fn has_mounts_below(table: &str, path: &str) -> bool {
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.into_iter().any(|point| point != path && Path::new(point).starts_with(path))
}

#[cfg(test)]
mod tests {
    use super::has_mounts_below;

    #[test]
    fn only_a_mount_below_the_path_is_below_it() {
        let table = "1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / /tmp/3 ro - ext4 a rw\n3 1 0:6 / /tmp/31/x ro - tmpfs t rw\n";
        assert_eq!(["/tmp/3", "/tmp/31", "/tmp/31/x"].map(|path| has_mounts_below(table, path)), [false, true, false]);
    }
}
