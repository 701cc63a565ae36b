//! Who could change a path: the walk to a private directory, in the manner of ssh's StrictModes, one descriptor at a time.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use bottle_contract::Untrusted;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{Dir, PRIVATE_DIR, beneath, failed};
use crate::error::{Error, Result};

/// Symlinks followed in one path, as in the kernel.
const MAX_LINKS: usize = 40;
/// S_ISVTX: only the owner of an entry may rename or remove it.
const STICKY: u32 = 0o1000;
/// Group or others may write.
const OTHERS_WRITE: u32 = 0o022;

/// What to do about a directory that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Make it, 0700.
    Make,
    /// Say so.
    Refuse,
}

/// Walks to `path` from the root and returns the directory, which must be ours alone.
pub(super) fn walk(path: &Path, missing: Missing) -> Result<Dir> {
    if !path.is_absolute() {
        return Err(Error::failed(
            format!("`{}` is not an absolute path", shown(path)),
            "it depends on the working directory",
            "name it from `/` on",
        ));
    }
    let mut here = Dir::open(Path::new("/"))?;
    let mut ahead: VecDeque<OsString> = path.components().filter_map(step).collect();
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        ancestor(&here.fd, &here.path)?;
        if name == ".." {
            here = Dir::open(here.path.parent().unwrap_or(Path::new("/")))?;
            continue;
        }
        let at = here.path.join(&name);
        let held = match beneath(&here.fd, &name, OFlags::PATH, Mode::empty()) {
            // RESOLVE_NO_SYMLINKS refuses the last component too unless it is opened as itself.
            Err(Errno::LOOP) => rustix::fs::openat(&here.fd, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()),
            other => other,
        };
        match held {
            Err(Errno::NOENT) if missing == Missing::Make => {
                here = match here.make(&name) {
                    // Another start was faster: judge what it made.
                    Err(Errno::EXIST) => {
                        ahead.push_front(name);
                        continue;
                    }
                    made => made.map_err(|e| failed("create", &at, "mkdirat", e))?,
                };
            }
            Err(e) => return Err(failed("open", &at, "openat2", e)),
            Ok(held) => {
                let stat = rustix::fs::fstat(&held).map_err(|e| failed("look at", &at, "fstat", e))?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(failed("open", path, "openat2", Errno::LOOP));
                    }
                    let target = follow(&held, &stat, &at)?;
                    if target.is_absolute() {
                        here = Dir::open(Path::new("/"))?;
                    }
                    for part in target.components().filter_map(step).collect::<Vec<_>>().into_iter().rev() {
                        ahead.push_front(part);
                    }
                    continue;
                }
                // The last step needs to be readable by us, those before it only need to be walked.
                let flags = if ahead.is_empty() { OFlags::RDONLY } else { OFlags::PATH };
                let fd = here.beneath(&name, flags | OFlags::DIRECTORY, Mode::empty()).or_else(|e| match e {
                    Errno::ACCESS if stat.st_uid == rustix::process::geteuid().as_raw() && ahead.is_empty() => {
                        super::chmod_by_descriptor(&held, PRIVATE_DIR)?;
                        here.beneath(&name, flags | OFlags::DIRECTORY, Mode::empty())
                    }
                    e => Err(e),
                });
                here = Dir { fd: fd.map_err(|e| failed("open", &at, "openat2", e))?, path: at };
            }
        }
    }
    private(&here.fd, &here.path)?;
    Ok(here)
}

fn step(part: Component<'_>) -> Option<OsString> {
    match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    }
}

/// The target of a symlink above the private directory. Its directory was judged; in a sticky one anybody may plant links, so the
/// link itself must be root's or ours (what the kernel's protected_symlinks does, where it is switched on).
fn follow(link: &OwnedFd, stat: &Stat, at: &Path) -> Result<PathBuf> {
    if !trusted(stat.st_uid) {
        let cause = format!("the symlink belongs to uid {}", stat.st_uid);
        return Err(Error::failed(
            format!("`{}` cannot be trusted", shown(at)),
            cause,
            "remove the link, or set BOTTLE_HOME to another directory",
        ));
    }
    let target = rustix::fs::readlinkat(link, "", Vec::new()).map_err(|e| failed("read", at, "readlinkat", e))?;
    Ok(PathBuf::from(OsString::from(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(target.as_bytes()))))
}

/// Refuses a directory in which somebody else could put another directory in our path.
fn ancestor(fd: impl AsFd, path: &Path) -> Result<()> {
    let stat = rustix::fs::fstat(fd).map_err(|e| failed("look at", path, "fstat", e))?;
    if !trusted(stat.st_uid) {
        let cause = format!("it belongs to uid {}, who could put anything there", stat.st_uid);
        return Err(Error::failed(format!("`{}` cannot be trusted", shown(path)), cause, "set BOTTLE_HOME to a directory of your own"));
    }
    if stat.st_mode & OTHERS_WRITE != 0 && stat.st_mode & STICKY == 0 {
        let cause = format!("others may write there (mode {:04o})", stat.st_mode & 0o7777);
        return Err(Error::failed(format!("`{}` cannot be trusted", shown(path)), cause, format!("`chmod go-w {}`", shown(path))));
    }
    Ok(())
}

/// Makes sure that a directory is ours and nobody else's.
pub(super) fn private(fd: impl AsFd, path: &Path) -> Result<()> {
    let stat = rustix::fs::fstat(&fd).map_err(|e| failed("look at", path, "fstat", e))?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        let cause = format!("it belongs to uid {}", stat.st_uid);
        return Err(Error::failed(
            format!("`{}` is not yours", shown(path)),
            cause,
            "remove it, or set BOTTLE_HOME to a directory of your own",
        ));
    }
    if stat.st_mode & OTHERS_WRITE != 0 {
        let cause = format!("others may write there (mode {:04o}), and may have", stat.st_mode & 0o7777);
        let hint = format!("look through it, then `chmod 0700 {}`", shown(path));
        return Err(Error::failed(format!("`{}` cannot be trusted", shown(path)), cause, hint));
    }
    if stat.st_mode & 0o777 != PRIVATE_DIR {
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(PRIVATE_DIR)).map_err(|e| failed("narrow", path, "fchmod", e))?;
    }
    Ok(())
}

/// Root, or us. Inside a user namespace that maps few ids, root of the host appears as the overflow uid, which then stands for
/// everybody else too; such a directory is accepted above ours as long as only its owner can write.
fn trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw() || (uid == overflow_uid() && !identity_mapped())
}

fn overflow_uid() -> u32 {
    std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok().and_then(|text| text.trim().parse().ok()).unwrap_or(65534)
}

/// True where every uid is mapped to itself: the initial user namespace (user_namespaces(7)).
fn identity_mapped() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn shown(path: &Path) -> Untrusted<'_> {
    Untrusted::new(path.as_os_str().as_encoded_bytes())
}
