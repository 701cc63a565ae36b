//! The root file system of a component: an empty one in memory, filled in the order of the specification.
//!
//! Sources are opened before anything is covered, as detached mounts with their attributes set; targets are resolved
//! inside the new root, so that a link in an image cannot lead a mount elsewhere.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree, unmount,
};

use crate::shown;
use crate::spec::{Failure, Mode as ComponentMode, Mount, Source, Spec};
use crate::sys::{self, MountAttributes};

/// A directory that every Linux system has; the new root is put on it for the moment before it becomes `/`.
pub(crate) const STAGE: &str = "/tmp";
/// Kernel files that tell about the host or act on it; covered by an empty device.
const MASKED: [&str; 9] = ["kcore", "keys", "key-users", "sysrq-trigger", "timer_list", "latency_stats", "sched_debug", "kallsyms", "kmsg"];
/// Kernel trees that may be read, not written.
const READ_ONLY: [&str; 4] = ["sys", "bus", "irq", "fs"];
/// Device files that a program expects.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Builds the root and makes it `/`. True if a tree of the host is in it in which sockets of the host can be found.
pub(crate) fn build(spec: &Spec, fds: &[Option<OwnedFd>]) -> Result<bool, Failure> {
    let failed = |what: &'static str| move |e: Errno| Failure::new(what, e);
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).map_err(failed("make the mounts private"))?;
    let mut sources = spec.mounts.iter().map(|mount| open_sources(mount, fds)).collect::<Result<Vec<_>, _>>()?;
    let devices = if spec.mounts.contains(&Mount::Dev) || spec.mounts.contains(&Mount::Proc) { open_devices()? } else { Vec::new() };

    let image = spec.image.as_ref().map(|source| open_source(source, true, fds)).transpose()?;
    // A sidecar is shown only what bottle itself made, and among that are the sockets of other sidecars.
    let is_bare = spec.mode == ComponentMode::Agent && shown::cover(&spec.mounts, &mut sources)?;
    let mut root = tmpfs("size=16777216,mode=0755", MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV)
        .map_err(failed("make an empty root"))?;
    attach(root.as_fd(), CWD, STAGE).map_err(failed("attach the new root"))?;
    if let Some(image) = image {
        root = root_from_image(root.as_fd(), image).map_err(|e| Failure::new("make a root of the image", e))?;
    }
    for (mount, sources) in spec.mounts.iter().zip(sources) {
        apply(root.as_fd(), mount, sources, &devices)
            .map_err(|e| Failure::new(format!("mount `{}` in the bottle", target_of(mount).display()), e))?;
    }
    sys::mount_setattr_root_read_only(root.as_fd()).map_err(|e| Failure::new("make the root read-only", e))?;
    rustix::process::fchdir(&root).map_err(failed("enter the new root"))?;
    rustix::process::pivot_root(".", ".").map_err(failed("switch to the new root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(failed("leave the old root"))?;
    rustix::process::chdir("/").map_err(failed("enter the new root"))?;
    Ok(is_bare)
}

fn target_of(mount: &Mount) -> &Path {
    match mount {
        Mount::Bind { target, .. }
        | Mount::Tmpfs { target, .. }
        | Mount::Overlay { target, .. }
        | Mount::Symlink { target, .. }
        | Mount::Directory { target, .. }
        | Mount::File { target, .. } => target,
        Mount::Proc => Path::new("/proc"),
        Mount::Dev => Path::new("/dev"),
    }
}

/// Detached copies of the trees that a step needs.
fn open_sources(mount: &Mount, fds: &[Option<OwnedFd>]) -> Result<Vec<OwnedFd>, Failure> {
    match mount {
        Mount::Bind { source, writable, .. } => Ok(vec![open_source(source, !writable, fds)?]),
        Mount::Overlay { lower, changes, .. } => Ok(vec![open_source(lower, true, fds)?, open_source(changes, false, fds)?]),
        _ => Ok(Vec::new()),
    }
}

fn open_source(source: &Source, read_only: bool, fds: &[Option<OwnedFd>]) -> Result<OwnedFd, Failure> {
    match source {
        Source::Path(path) => detached(path, MountAttributes { read_only, ..Default::default() })
            .map_err(|e| Failure::new(format!("open `{}`", path.display()), e)),
        // Its attributes were set by the supervisor.
        Source::Fd(index) => fds
            .get(*index)
            .and_then(Option::as_ref)
            .ok_or_else(|| Failure::new("take over a mount", "its descriptor did not come"))?
            .try_clone()
            .map_err(|e| Failure::new("take over a mount", e)),
    }
}

/// A root whose lower layer is the image and whose changes stay in memory, on top of the empty one.
fn root_from_image(empty: BorrowedFd<'_>, image: OwnedFd) -> std::io::Result<OwnedFd> {
    attach_to(image.as_fd(), directory(empty, Path::new("/lower"), 0o755)?)?;
    for name in ["/changes/upper", "/changes/work"] {
        drop(directory(empty, Path::new(name), 0o755)?);
    }
    let tree = overlay_of(&format!("{STAGE}/lower"), &format!("{STAGE}/changes"))?;
    attach(tree.as_fd(), CWD, STAGE)?;
    Ok(tree)
}

/// A private copy of a mount tree that is attached nowhere, without setuid and device files.
pub fn detached(path: &Path, attributes: MountAttributes) -> std::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, path, flags)?;
    sys::mount_setattr(tree.as_fd(), attributes)?;
    Ok(tree)
}

fn open_devices() -> Result<Vec<OwnedFd>, Failure> {
    DEVICES
        .iter()
        .map(|name| {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let tree = open_tree(CWD, format!("/dev/{name}"), flags)?;
            sys::mount_setattr_device(tree.as_fd())?;
            Ok(tree)
        })
        .collect::<std::io::Result<_>>()
        .map_err(|e| Failure::new("open the device files", e))
}

fn apply(root: impl AsFd + Copy, mount: &Mount, sources: Vec<OwnedFd>, devices: &[OwnedFd]) -> std::io::Result<()> {
    match mount {
        Mount::Bind { target, writable, .. } => {
            let stat = rustix::fs::fstat(&sources[0])?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => attach_to(sources[0].as_fd(), directory(root, target, 0o755)?)?,
                FileType::RegularFile if !writable && stat.st_size <= COPIED => copy(root, target, sources[0].as_fd())?,
                FileType::RegularFile => attach_to(sources[0].as_fd(), file(root, target, "", 0o644)?)?,
                // A socket or FIFO of the host would answer here; nothing else of the host is needed.
                _ => return Err(std::io::Error::other("it is neither a directory nor a regular file")),
            }
        }
        Mount::Tmpfs { target, size, mode, executable } => {
            let mut flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
            if !executable {
                flags |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
            }
            let tree = tmpfs(&format!("size={size},mode={mode:o}"), flags)?;
            attach_to(tree.as_fd(), directory(root, target, 0o755)?)?;
        }
        Mount::Proc => proc(root, devices)?,
        Mount::Dev => dev(root, devices)?,
        Mount::Overlay { target, .. } => overlay(root, target, &sources)?,
        Mount::Symlink { to, target } => {
            let (parent, name) = parent(root, target)?;
            match replace(&parent, name) {
                // A directory of the image that has something in it: what the link would lead to is mounted there.
                Err(Errno::NOTEMPTY | Errno::BUSY) => again(root, to, target)?,
                replaced => replaced.and_then(|()| symlinkat(to, parent, name))?,
            }
        }
        Mount::Directory { target, mode } => drop(directory(root, target, *mode)?),
        Mount::File { target, text, mode } => {
            let (parent, name) = parent(root, target)?;
            replace(&parent, name)?;
            drop(file(root, target, text, *mode)?);
        }
    }
    Ok(())
}

/// In a container: the links and files that the engine cannot make, in what it left writable.
pub(crate) fn furnish(spec: &Spec) -> Result<(), Failure> {
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Failure::new("open the root", e))?;
    for mount in &spec.mounts {
        let made = match mount {
            Mount::Symlink { to, target } => parent(root.as_fd(), target)
                .and_then(|(parent, name)| {
                    replace(&parent, name)?;
                    symlinkat(to, &parent, name)
                })
                .map_err(Into::into),
            Mount::File { target, text, mode } => file(root.as_fd(), target, text, *mode).map(drop),
            _ => Err(std::io::ErrorKind::Unsupported.into()),
        };
        made.map_err(|e| Failure::new(format!("make `{}` in the bottle", target_of(mount).display()), e))?;
    }
    Ok(())
}

pub(crate) fn tmpfs(options: &str, attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for option in options.split(',') {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        fsconfig_set_string(fs.as_fd(), key, value)?;
    }
    fsconfig_create(fs.as_fd())?;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

pub(crate) fn attach(tree: impl AsFd, base: impl AsFd, path: &str) -> rustix::io::Result<()> {
    move_mount(tree, "", base, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn attach_to(tree: impl AsFd, place: OwnedFd) -> rustix::io::Result<()> {
    move_mount(tree, "", place, "", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH)
}

/// Bytes of the largest file of the host that is copied into memory rather than mounted; the linker's cache takes a few hundred thousand.
const COPIED: i64 = 4 << 20;

/// Resolution that cannot leave the new root.
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// Opens a directory of the new root, making what is missing.
fn directory(root: impl AsFd + Copy, target: &Path, mode: u32) -> rustix::io::Result<OwnedFd> {
    let mut reached = std::path::PathBuf::from(".");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut current = openat2(root, ".", flags, Mode::empty(), INSIDE)?;
    for component in target.components() {
        let Component::Normal(name) = component else { continue };
        reached.push(name);
        current = match openat2(root, &reached, flags, Mode::empty(), INSIDE) {
            Ok(next) => next,
            Err(Errno::NOENT) => {
                mkdirat(&current, name, Mode::from_raw_mode(mode))?;
                openat2(root, &reached, flags, Mode::empty(), INSIDE)?
            }
            Err(errno) => return Err(errno),
        };
    }
    Ok(current)
}

fn parent(root: impl AsFd + Copy, target: &Path) -> rustix::io::Result<(OwnedFd, &std::ffi::OsStr)> {
    let name = target.file_name().ok_or(Errno::INVAL)?;
    Ok((directory(root, target.parent().unwrap_or(Path::new("/")), 0o755)?, name))
}

/// An image may have something of that name; the bottle's own takes its place. The image itself stays as it is.
fn replace(parent: impl AsFd, name: &std::ffi::OsStr) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(&parent, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => rustix::fs::unlinkat(&parent, name, rustix::fs::AtFlags::REMOVEDIR),
        Err(errno) => Err(errno),
    }
}

/// Mounts what the new root has at `source` a second time.
fn again(root: impl AsFd + Copy, source: &Path, target: &Path) -> rustix::io::Result<()> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(directory(root, source, 0o755)?, "", flags)?;
    attach_to(tree.as_fd(), directory(root, target, 0o755)?)
}

fn file(root: impl AsFd + Copy, target: &Path, text: &str, mode: u32) -> std::io::Result<OwnedFd> {
    let (parent, name) = parent(root, target)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(&parent, name, flags, Mode::from_raw_mode(mode))?;
    if !text.is_empty() {
        let mut file = std::fs::File::from(file.try_clone()?);
        std::io::Write::write_all(&mut file, text.as_bytes())?;
    }
    Ok(openat(&parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// Copies a file of the host: a package manager that puts another in its place leaves one that cannot be mounted.
fn copy(root: impl AsFd + Copy, target: &Path, source: BorrowedFd<'_>) -> std::io::Result<()> {
    let mut source = std::fs::File::open(format!("/proc/self/fd/{}", source.as_raw_fd()))?;
    let (parent, name) = parent(root, target)?;
    replace(&parent, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut file = std::fs::File::from(openat(&parent, name, flags, Mode::from_raw_mode(0o644))?);
    std::io::copy(&mut source, &mut file)?;
    Ok(())
}

/// Mounts `/proc` of this pid namespace. While its `sys` can still be written, nested user namespaces are forbidden:
/// they would give back every capability over new namespaces, and with them much kernel code to attack.
fn proc(root: impl AsFd + Copy, devices: &[OwnedFd]) -> std::io::Result<()> {
    let fs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(fs.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let tree = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    attach_to(tree.as_fd(), directory(root, Path::new("/proc"), 0o755)?)?;

    let limit = openat(&tree, "sys/user/max_user_namespaces", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&limit, b"0")?;
    drop(limit);
    for name in READ_ONLY {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        match open_tree(&tree, name, flags) {
            Ok(part) => {
                sys::mount_setattr(part.as_fd(), MountAttributes { read_only: true, no_exec: true, idmap: None })?;
                attach(part.as_fd(), &tree, name)?;
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    for name in MASKED {
        let empty = open_tree(
            devices[0].as_fd(),
            "",
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH,
        )?;
        match attach(empty.as_fd(), &tree, name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn dev(root: impl AsFd + Copy, devices: &[OwnedFd]) -> std::io::Result<()> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    attach_to(tmpfs("size=65536,mode=0755", attributes)?.as_fd(), directory(root, Path::new("/dev"), 0o755)?)?;
    for (name, device) in DEVICES.iter().zip(devices) {
        let copy = open_tree(
            device.as_fd(),
            "",
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH,
        )?;
        attach_to(copy.as_fd(), file(root, &Path::new("/dev").join(name), "", 0o644)?)?;
    }
    let pts = fsopen("devpts", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_flag(pts.as_fd(), "newinstance")?;
    fsconfig_set_string(pts.as_fd(), "ptmxmode", "0666")?;
    fsconfig_set_string(pts.as_fd(), "mode", "0620")?;
    fsconfig_create(pts.as_fd())?;
    let pts = fsmount(pts.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    attach_to(pts.as_fd(), directory(root, Path::new("/dev/pts"), 0o755)?)?;
    let shm = tmpfs(&format!("size={},mode=1777", crate::SHM_BYTES), attributes | MountAttrFlags::MOUNT_ATTR_NODEV)?;
    attach_to(shm.as_fd(), directory(root, Path::new("/dev/shm"), 0o755)?)?;
    let at = directory(root, Path::new("/dev"), 0o755)?;
    for (name, to) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlinkat(to, &at, name)?;
    }
    Ok(())
}

/// Mounts the lower tree with its changes. Overlay file systems take their layers by path, so both are attached for
/// the moment of the call; the kernel then keeps its own references.
fn overlay(root: impl AsFd + Copy, target: &Path, sources: &[OwnedFd]) -> std::io::Result<()> {
    let stage = |name: &str| format!("{STAGE}/.{name}");
    for (name, tree) in ["lower", "changes"].into_iter().zip(sources) {
        attach_to(tree.as_fd(), directory(root, Path::new(&format!("/.{name}")), 0o700)?)?;
    }
    let tree = overlay_of(&stage("lower"), &stage("changes"))?;
    attach_to(tree.as_fd(), directory(root, target, 0o755)?)?;
    for name in ["lower", "changes"] {
        unmount(stage(name), UnmountFlags::DETACH)?;
        rustix::fs::unlinkat(root, format!(".{name}"), rustix::fs::AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

fn overlay_of(lower: &str, changes: &str) -> rustix::io::Result<OwnedFd> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), "lowerdir", lower)?;
    fsconfig_set_string(fs.as_fd(), "upperdir", format!("{changes}/upper"))?;
    fsconfig_set_string(fs.as_fd(), "workdir", format!("{changes}/work"))?;
    // Extended attributes of the user's own name space: the others need privileges on the host.
    fsconfig_set_flag(fs.as_fd(), "userxattr")?;
    // The kernel need not write the whole file system out when the mount ends: what the agent left is read from there
    // at once, and a crash of the host loses no more of it than of any file that was just written.
    fsconfig_set_flag(fs.as_fd(), "volatile")?;
    fsconfig_create(fs.as_fd())?;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV)
}
