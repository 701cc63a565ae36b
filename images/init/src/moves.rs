//! Renames of directories that an overlay cannot rename: those of its lower layer, which the kernel answers with EXDEV.
//!
//! Pid 1 gets every rename before the kernel does. What is no directory the kernel renames itself. A directory is renamed here, and where
//! that fails with EXDEV on one file system, it is copied beside its goal, the copy gets the name, and the source is removed: all with the
//! rights, root and working directory of the caller, and by descriptors. That is not atomic: both are there for a moment, and a file that
//! somebody adds to the source meanwhile stays there.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, RenameFlags, Stat, fstat, renameat_with, statat};
use rustix::io::Errno;

use crate::caller::{Caller, Entry};
use crate::copy_tree::{Copying, remove};
use crate::notify::{self, Call};

/// The calls that are answered here.
pub(crate) const CALLS: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
];
/// Moves that are under way at once; each has a thread.
const MAX_MOVES: usize = 8;
/// How long one may take.
const MOVE_TIMEOUT: Duration = Duration::from_secs(120);

/// Answers renames.
#[derive(Debug)]
pub(crate) struct Mover {
    under_way: Arc<()>,
    /// The caller waits for the answer whatever signals it gets, but for one that kills it. Without that, a call that is interrupted is made
    /// a second time while the first is still answered.
    is_patient: bool,
}

/// One rename as the caller asked for it.
struct Move {
    from: Entry,
    to: Entry,
    flags: RenameFlags,
}

impl Mover {
    pub(crate) fn new(is_patient: bool) -> Self {
        Self { under_way: Arc::default(), is_patient }
    }

    /// Answers a rename.
    pub(crate) fn serve(&self, listener: &Arc<OwnedFd>, call: &Call) {
        let proceed = || notify::proceed(listener.as_fd(), call.id);
        let asked = if self.is_patient { Move::of(call) } else { Err(Errno::NOSYS) };
        // Whatever cannot be read here is the kernel's to answer.
        let Ok(asked) = asked else { return proceed() };
        if !asked.has_directory() || !notify::still_waits(listener.as_fd(), call.id) {
            return proceed();
        }
        let answer = |result: Result<(), Errno>| {
            notify::answer(listener.as_fd(), call.id, result.map_err(Errno::raw_os_error));
        };
        match asked.rename() {
            Err(Errno::XDEV) if asked.is_on_one_file_system() => {}
            result => return answer(result),
        }
        let under_way = self.under_way.clone();
        if Arc::strong_count(&under_way) > MAX_MOVES + 1 {
            return answer(Err(Errno::AGAIN));
        }
        let (listener, id) = (listener.clone(), call.id);
        let started = std::thread::Builder::new().stack_size(1 << 18).spawn(move || {
            let end = Instant::now() + MOVE_TIMEOUT;
            let goes_on = || Instant::now() < end && notify::still_waits(listener.as_fd(), id);
            let result = asked.perform(&goes_on);
            notify::answer(listener.as_fd(), id, result.map_err(Errno::raw_os_error));
            drop(under_way);
        });
        if started.is_err() {
            answer(Err(Errno::AGAIN));
        }
    }
}

impl Move {
    fn of(call: &Call) -> Result<Self, Errno> {
        let caller = Caller::of(call)?;
        let number = |index: usize| i32::from_le_bytes(call.arguments[index].to_le_bytes()[..4].try_into().unwrap_or_default());
        let (old, new, flags) = match call.number {
            libc::SYS_renameat => ((number(0), 1), (number(2), 3), 0),
            libc::SYS_renameat2 => ((number(0), 1), (number(2), 3), number(4)),
            _ => ((libc::AT_FDCWD, 0), (libc::AT_FDCWD, 1), 0),
        };
        let flags = RenameFlags::from_bits(flags.cast_unsigned()).ok_or(Errno::INVAL)?;
        if !(flags.is_empty() || flags == RenameFlags::NOREPLACE || flags == RenameFlags::EXCHANGE) {
            return Err(Errno::INVAL);
        }
        let entry = |(dirfd, path): (i32, usize)| caller.entry(dirfd, &caller.path(call.arguments[path])?);
        Ok(Self { from: entry(old)?, to: entry(new)?, flags })
    }

    fn has_directory(&self) -> bool {
        let is_directory = |entry: &Entry| entry.stat().is_ok_and(|stat| is_directory(&stat));
        is_directory(&self.from) || self.flags == RenameFlags::EXCHANGE && is_directory(&self.to)
    }

    fn rename(&self) -> Result<(), Errno> {
        renameat_with(&self.from.parent, &self.from.name, &self.to.parent, &self.to.name, self.flags)
    }

    fn is_on_one_file_system(&self) -> bool {
        matches!((fstat(&self.from.parent), fstat(&self.to.parent)), (Ok(from), Ok(to)) if from.st_dev == to.st_dev)
    }

    fn perform(&self, goes_on: &dyn Fn() -> bool) -> Result<(), Errno> {
        if self.flags == RenameFlags::EXCHANGE {
            return self.exchange(goes_on);
        }
        let source = self.from.stat()?;
        self.refuse_below(&source)?;
        match self.to.stat() {
            Ok(_) if self.flags == RenameFlags::NOREPLACE => return Err(Errno::EXIST),
            Ok(there) if !is_directory(&there) => return Err(Errno::NOTDIR),
            // Only an empty directory is replaced; the kernel looks, too, once the copy gets the name.
            Ok(_) => {
                if !crate::copy_tree::is_empty(&self.to.parent, &self.to.name)? {
                    return Err(Errno::NOTEMPTY);
                }
            }
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
        let copy = Beside::copy(&self.from, &self.to, goes_on)?;
        copy.settle(&self.to.name, self.flags)?;
        remove(&self.from.parent, &self.from.name)
    }

    /// Both change places: two copies, or one and a rename.
    fn exchange(&self, goes_on: &dyn Fn() -> bool) -> Result<(), Errno> {
        self.refuse_below(&self.from.stat()?)?;
        let turned = Self { from: self.to.again()?, to: self.from.again()?, flags: self.flags };
        turned.refuse_below(&self.to.stat()?)?;
        let first = Beside::copy(&self.from, &self.to, goes_on)?;
        let second = Beside::copy(&self.to, &self.from, goes_on)?;
        // Order matters: from here on both copies are whole, and the sources make room for them.
        remove(&self.to.parent, &self.to.name)?;
        first.settle(&self.to.name, RenameFlags::NOREPLACE)?;
        remove(&self.from.parent, &self.from.name)?;
        second.settle(&self.from.name, RenameFlags::NOREPLACE)
    }

    /// A directory cannot be moved below itself.
    fn refuse_below(&self, source: &Stat) -> Result<(), Errno> {
        let same = |a: &Stat, b: &Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        let mut current = self.to.parent.try_clone().map_err(|_| Errno::MFILE)?;
        let mut stat = fstat(&current)?;
        loop {
            if same(&stat, source) {
                return Err(Errno::INVAL);
            }
            current = crate::copy_tree::above(&current)?;
            let next = fstat(&current)?;
            if same(&next, &stat) {
                return Ok(());
            }
            stat = next;
        }
    }
}

impl Entry {
    fn stat(&self) -> Result<Stat, Errno> {
        statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn again(&self) -> Result<Self, Errno> {
        Ok(Self { parent: self.parent.try_clone().map_err(|_| Errno::MFILE)?, name: self.name.clone() })
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// A copy beside the goal, removed unless it gets its name.
struct Beside<'m> {
    parent: &'m OwnedFd,
    name: Option<OsString>,
}

impl<'m> Beside<'m> {
    fn copy(from: &Entry, to: &'m Entry, goes_on: &dyn Fn() -> bool) -> Result<Self, Errno> {
        let name = OsString::from(format!(".bottle-moving-{}", unique()?));
        let beside = Self { parent: &to.parent, name: Some(name.clone()) };
        Copying::new(goes_on).node((&from.parent, &from.name), (&to.parent, &name))?;
        Ok(beside)
    }

    fn settle(mut self, name: &OsStr, flags: RenameFlags) -> Result<(), Errno> {
        let own = self.name.clone().unwrap_or_default();
        renameat_with(self.parent, &own, self.parent, name, flags)?;
        self.name = None;
        Ok(())
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = remove(self.parent, name);
        }
    }
}

fn unique() -> Result<String, Errno> {
    let mut bytes = [0; 8];
    let mut file = std::fs::File::open("/dev/urandom").map_err(|_| Errno::NOENT)?;
    std::io::Read::read_exact(&mut file, &mut bytes).map_err(|_| Errno::IO)?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}
