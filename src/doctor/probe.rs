//! Probes the host by doing what a start does, in a child process. Versions and settings only explain a failure; nothing is concluded from
//! them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::{CGROUP, CLONE, Finding, LANDLOCK, MOUNTS, NAMESPACES, NETWORK, Need, OVERLAY, PROC, RUNTIME, SECCOMP, SIDECARS};
use crate::backend::ids::{INSIDE, for_component};
use crate::backend::kernel::cgroup::Hierarchy;
use crate::backend::{embedded::spawn, sidecar_programs};
use crate::store::Layout;
use crate::sys::clone::{ALL, Cloned, become_user, exit, into_namespaces};
use crate::sys::kernel;

/// Settings that forbid user namespaces to ordinary users, and the forbidding value.
const SETTINGS: [(&str, &str); 3] =
    [("kernel/apparmor_restrict_unprivileged_userns", "1"), ("kernel/unprivileged_userns_clone", "0"), ("user/max_user_namespaces", "0")];

/// Does one thing that a start does.
type Probe = fn() -> io::Result<()>;

/// The probes that run in the child, in this order.
const INSIDE_PROBES: [(Need, Probe); 4] = [(NETWORK, network), (MOUNTS, mounts), (PROC, proc), (OVERLAY, overlay)];

/// Runs all probes. The caller must have one thread.
pub fn all(layout: &Layout) -> Vec<Finding> {
    let mut findings = vec![finding(CLONE, plain_clone(), "with a pidfd")];
    findings.extend(in_namespaces());
    findings.push(finding(SECCOMP, kernel::seccomp(), "filters that answer with an error"));
    findings.push(Finding { need: LANDLOCK, result: landlock() });
    findings.push(Finding { need: CGROUP, result: group() });
    findings.push(Finding { need: RUNTIME, result: runtime(layout) });
    findings.extend(SIDECARS.map(|(component, need)| Finding { need, result: sidecar(component) }));
    findings
}

fn finding(need: Need, result: io::Result<()>, detail: &str) -> Finding {
    Finding { need, result: result.map(|()| detail.to_owned()).map_err(|error| error.to_string()) }
}

fn plain_clone() -> io::Result<()> {
    let (lifeline, _ours) = io::pipe()?;
    match into_namespaces(0, lifeline.as_fd(), &[])? {
        Cloned::Child => exit(0),
        Cloned::Parent { pidfd, .. } => {
            waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
            Ok(())
        }
    }
}

/// Probes the namespaces, and what must work inside them.
fn in_namespaces() -> Vec<Finding> {
    match results_of_child() {
        Ok(output) => {
            let mut findings = vec![finding(NAMESPACES, Ok(()), "user, mount, pid, net, ipc, uts")];
            let mut numbers = output.lines().map(|line| line.parse::<i32>().unwrap_or(libc::EIO));
            for (need, _) in INSIDE_PROBES {
                let result = match numbers.next() {
                    Some(0) => Ok(()),
                    Some(number) => Err(io::Error::from_raw_os_error(number)),
                    None => Err(io::ErrorKind::UnexpectedEof.into()),
                };
                findings.push(finding(need, result, "works in the bottle's namespaces"));
            }
            findings
        }
        Err(error) => {
            let set = |(name, forbids): &(&str, &str)| {
                let value = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
                (value.trim() == *forbids).then(|| format!("{} is {forbids}", name.replace('/', ".")))
            };
            let causes: Vec<String> = [error.to_string()].into_iter().chain(SETTINGS.iter().filter_map(set)).collect();
            let unchecked = INSIDE_PROBES.map(|(need, _)| Finding { need, result: Err("not checked without user namespaces".to_owned()) });
            [Finding { need: NAMESPACES, result: Err(causes.join(", ")) }].into_iter().chain(unchecked).collect()
        }
    }
}

/// Error numbers, one per line; 0 for success.
fn results_of_child() -> io::Result<String> {
    let (mut answers, to_answers) = io::pipe()?;
    let (go_on, mut mapped) = io::pipe()?;
    let operator = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let ids = for_component(operator, "doctor", 0);
    match into_namespaces(ALL, go_on.as_fd(), &[to_answers.as_fd()])? {
        Cloned::Child => {
            let _ = inside(go_on, to_answers);
            exit(0)
        }
        Cloned::Parent { pid, pidfd } => {
            drop((go_on, to_answers));
            let result = spawn::map(pid, ids).and_then(|()| mapped.write_all(b"m"));
            // Without a mapping the child has no user, sees the end of the pipe and exits. With one it reads that end only now.
            let _lifeline = result.is_ok().then_some(mapped);
            let mut output = String::new();
            let read = answers.read_to_string(&mut output);
            waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
            result.and(read)?;
            Ok(output)
        }
    }
}

fn inside(mut go_on: impl Read, mut answers: impl Write) -> io::Result<()> {
    go_on.read_exact(&mut [0])?;
    become_user(INSIDE, INSIDE)?;
    // A change of credentials takes the capabilities in effect, not those permitted.
    kernel::regain_capabilities()?;
    for (_, probe) in INSIDE_PROBES {
        let number = probe().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
        writeln!(answers, "{number}")?;
    }
    Ok(())
}

fn network() -> io::Result<()> {
    bottle_init::sys::interface_up("lo")
}

/// An empty file system on `/tmp`, and a read-only copy of the host's `/usr` in it, as for a root.
fn mounts() -> io::Result<()> {
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    let usr = bottle_init::root::detached("/usr".as_ref(), bottle_init::sys::MountAttributes { read_only: true, ..Default::default() })?;
    let memory = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(memory.as_fd())?;
    let memory = fsmount(memory.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    move_mount(memory, "", CWD, "/tmp", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    fs::create_dir("/tmp/usr")?;
    move_mount(usr, "", CWD, "/tmp/usr", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    open_tree(CWD, "/dev/null", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    Ok(())
}

fn proc() -> io::Result<()> {
    let proc = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(proc.as_fd())?;
    let proc = fsmount(proc.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    rustix::fs::openat(&proc, "sys/user/max_user_namespaces", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(())
}

/// On the empty file system of [`mounts`].
fn overlay() -> io::Result<()> {
    for name in ["lower", "upper", "work"] {
        fs::create_dir(format!("/tmp/{name}"))?;
    }
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, name) in [("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work")] {
        fsconfig_set_string(overlay.as_fd(), key, format!("/tmp/{name}"))?;
    }
    fsconfig_set_flag(overlay.as_fd(), "userxattr")?;
    fsconfig_create(overlay.as_fd())?;
    Ok(())
}

/// Version 6, of Linux 6.12, is the first that also stops abstract sockets and signals.
fn landlock() -> Result<String, String> {
    match kernel::landlock_version() {
        Ok(version) if version >= 6 => Ok(format!("version {version}")),
        Ok(version) => Err(format!("version {version} guards files only")),
        Err(error) => Err(error.to_string()),
    }
}

fn group() -> Result<String, String> {
    match Hierarchy::find() {
        Hierarchy::Unified(path) => Ok(path.display().to_string()),
        Hierarchy::Separate { memory, .. } => Ok(memory.display().to_string()),
        Hierarchy::Missing => Err("no control group that this user may write".to_owned()),
    }
}

fn runtime(layout: &Layout) -> Result<String, String> {
    let path = layout.open_runtime().map(|dir| dir.path().to_owned()).map_err(|error| error.cause)?;
    // Only what is empty: another bottle may be in it.
    let _ = fs::remove_dir(&path);
    let _ = path.parent().map(fs::remove_dir);
    Ok(path.display().to_string())
}

/// The path of a sidecar's program.
fn sidecar(component: &str) -> Result<String, String> {
    let file = File::from(sidecar_programs::find(component).map_err(|error| error.cause)?);
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().map_err(|e| e.to_string())?.permissions());
    let path = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file))).map_err(|e| e.to_string())?;
    if mode & 0o111 == 0 {
        return Err(format!("{} cannot be executed", path.display()));
    }
    Ok(path.display().to_string())
}
