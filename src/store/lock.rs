//! Locks: flock on an open file. The kernel releases it with the last descriptor, however its holder exits.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, StatVfsMountFlags, flock};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::files::{Dir, PRIVATE, chmod_by_descriptor, failed};

/// The lock of a bottle, in its state directory, for the lifetime of the supervisor.
pub(super) const OF_BOTTLE: &str = "lock";
/// The lock of the store, for the milliseconds in which ids are assigned or listed.
const OF_STORE: &str = ".lock";
/// A process that holds the store longer is stopped or stuck.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two attempts at a busy lock. A claim takes about a millisecond.
const RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// The mode of the store's lock.
#[derive(Clone, Copy)]
pub(super) enum Sharing {
    /// Exclusive: ids are assigned or released.
    Alone,
    /// Shared: locks of bottles are inspected.
    WithReaders,
}

/// Locks the store for reading. A read-only store needs no lock.
pub(super) fn readers(state: &Dir) -> Result<Option<File>> {
    let is_read_only = || rustix::fs::fstatvfs(state).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY));
    if is_read_only() { Ok(None) } else { store(state, Sharing::WithReaders).map(Some) }
}

/// Locks the store.
pub(super) fn store(state: &Dir, sharing: Sharing) -> Result<File> {
    let file = open(state, OF_STORE)?;
    let operation = match sharing {
        Sharing::Alone => FlockOperation::NonBlockingLockExclusive,
        Sharing::WithReaders => FlockOperation::NonBlockingLockShared,
    };
    let deadline = Instant::now() + LOCK_TIMEOUT;
    while !attempt(state, OF_STORE, &file, operation)? {
        if Instant::now() > deadline {
            let cause = format!("{} is locked for {} seconds", state.path().join(OF_STORE).display(), LOCK_TIMEOUT.as_secs());
            return Err(Error::failed(
                "the bottles are locked by another `bottle`",
                cause,
                "look for a stopped `bottle` with `ps`, and end it",
            ));
        }
        std::thread::sleep(RETRY_INTERVAL);
    }
    Ok(file)
}

/// Creates and takes the lock of a bottle that no other process knows yet.
pub(super) fn fresh(bottle: &Dir) -> Result<File> {
    let file = open(bottle, OF_BOTTLE)?;
    match attempt(bottle, OF_BOTTLE, &file, FlockOperation::NonBlockingLockExclusive)? {
        true => Ok(file),
        false => Err(failed("lock", &bottle.path().join(OF_BOTTLE), "flock", Errno::WOULDBLOCK)),
    }
}

/// Takes the lock of a bottle if it is free. Requires the exclusive lock of the store: otherwise a reader could look like the holder.
pub(super) fn take(bottle: &Dir) -> Result<Option<File>> {
    make_readable(bottle, OF_BOTTLE);
    let file = bottle.open_file(OF_BOTTLE)?;
    Ok(attempt(bottle, OF_BOTTLE, &file, FlockOperation::NonBlockingLockExclusive)?.then_some(file))
}

/// True if the lock of a bottle is held. Requires the shared lock of the store.
pub(super) fn is_held(bottle: &Dir) -> Result<bool> {
    make_readable(bottle, OF_BOTTLE);
    let file = bottle.open_file(OF_BOTTLE)?;
    Ok(!attempt(bottle, OF_BOTTLE, &file, FlockOperation::NonBlockingLockShared)?)
}

/// Opens the lock, created if missing, with its mode under any umask.
fn open(dir: &Dir, name: &str) -> Result<File> {
    let failed = |e| failed("open", &dir.path().join(name), "openat2", e);
    let opened = |flags, mode| dir.beneath(name.as_ref(), flags | OFlags::RDWR | OFlags::NONBLOCK, Mode::from_raw_mode(mode));
    loop {
        match opened(OFlags::CREATE | OFlags::EXCL, PRIVATE) {
            Ok(file) => {
                rustix::fs::fchmod(&file, Mode::from_raw_mode(PRIVATE)).map_err(failed)?;
                return Ok(file.into());
            }
            Err(Errno::EXIST) => {}
            Err(e) => return Err(failed(e)),
        }
        make_readable(dir, name);
        match opened(OFlags::empty(), 0) {
            // Removed meanwhile.
            Err(Errno::NOENT) => {}
            opened => return opened.map(File::from).map_err(failed),
        }
    }
}

/// Sets the mode of a lock that a umask without owner rights has restricted. A file of another user stays unchanged, and opening it
/// reports the error.
fn make_readable(dir: &Dir, name: &str) {
    let Ok(file) = dir.beneath(name.as_ref(), OFlags::PATH, Mode::empty()) else { return };
    let Ok(stat) = rustix::fs::fstat(&file) else { return };
    let is_ours = stat.st_uid == rustix::process::geteuid().as_raw();
    if is_ours && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & PRIVATE != PRIVATE {
        let _ = chmod_by_descriptor(&file, PRIVATE);
    }
}

fn attempt(dir: &Dir, name: &str, file: &File, operation: FlockOperation) -> Result<bool> {
    loop {
        return match flock(file, operation) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(Errno::INTR) => continue,
            Err(e) => {
                let error = failed("lock", &dir.path().join(name), "flock", e);
                Err(Error { hint: "the file system has no locks; set BOTTLE_HOME to a directory on a local one".into(), ..error })
            }
        };
    }
}
