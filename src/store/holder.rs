//! Finds processes that hold a lock although its owner has exited: a copy of the supervisor, or a process that inherited the lock.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::process_identity::{self, start_time};
use crate::error::{Error, Result};

/// A process that holds a lock that another one took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Its start time, in clock ticks since boot.
    start_time: u64,
    /// It runs this program. The lock is close-on-exec, so it is a copy of the supervisor.
    ours: bool,
}

impl Holder {
    /// Kills the process and waits for it, if it is certainly ours.
    pub fn end(&self) -> Result<()> {
        let pid = self.pid;
        if !self.ours {
            let what = format!("process {pid} holds the lock of a bottle that has exited");
            return Err(Error::failed(
                what,
                "it runs another program, so bottle does not kill it",
                format!("check what it is, then `kill {pid}`"),
            ));
        }
        process_identity::end(pid, self.start_time)
    }
}

/// The holders of `lock`, if its owner is certainly not among them. None if the owner exists, or no holder is visible.
pub(super) fn copies(lock: &File) -> Vec<Holder> {
    let Ok(lock) = lock.metadata() else { return Vec::new() };
    let own = program("self");
    let mut copies = Vec::new();
    for pid in fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok()) {
        let Some(taker) = taker(pid, (lock.dev(), lock.ino())) else { continue };
        if taker == pid {
            return Vec::new();
        }
        let ours = own.is_some() && program(&pid.to_string()) == own;
        copies.extend(start_time(pid).map(|start_time| Holder { pid, start_time, ours }));
    }
    copies
}

/// The owner of the lock on this file, if `pid` holds it (proc_pid_fdinfo(5)). 0 is an owner that has exited, as seen from another pid
/// namespace.
fn taker(pid: u32, file: (u64, u64)) -> Option<u32> {
    let directory = Path::new("/proc").join(pid.to_string());
    fs::read_dir(directory.join("fd")).ok()?.filter_map(Result::ok).find_map(|entry| {
        // Only files with the lock's name: a file on a hanging server would block.
        let target = fs::read_link(entry.path()).ok()?;
        let meta = target.to_str()?.contains("/lock").then(|| fs::metadata(entry.path()))?.ok()?;
        if (meta.dev(), meta.ino()) != file {
            return None;
        }
        let info = fs::read_to_string(directory.join("fdinfo").join(entry.file_name())).ok()?;
        info.lines().find_map(taken_by)
    })
}

/// `lock: 1: FLOCK  ADVISORY  WRITE 4242 fe:00:10010791 0 EOF`
fn taken_by(line: &str) -> Option<u32> {
    let fields: Vec<&str> = line.strip_prefix("lock:")?.split_whitespace().collect();
    matches!(fields[..], [_, "FLOCK", _, "WRITE", ..]).then(|| fields.get(4)?.parse().ok()).flatten()
}

/// The executable of a process.
fn program(pid: &str) -> Option<(u64, u64)> {
    let meta = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    Some((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::taken_by;

    #[test]
    fn only_a_lock_that_nobody_shares_has_a_taker() {
        for (line, taker) in [
            ("lock:\t1: FLOCK  ADVISORY  WRITE 4242 fe:00:10010791 0 EOF", Some(4242)),
            ("lock:\t1: FLOCK  ADVISORY  READ 4242 fe:00:10010791 0 EOF", None),
            ("lock:\t1: POSIX  ADVISORY  WRITE 4242 fe:00:10010791 0 EOF", None),
            ("lock:\t1: FLOCK  ADVISORY  WRITE", None),
            ("flags:\t02100002", None),
        ] {
            assert_eq!(taken_by(line), taker, "{line}");
        }
    }
}
