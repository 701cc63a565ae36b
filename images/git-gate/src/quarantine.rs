//! Stores a pack until its verdict, in a memory file that nobody can change once it is complete.
//!
//! In memory, because a pack may hold stolen secrets, and a refused one must leave nothing on a disk even if the gate is
//! killed: the kernel frees the file with its last descriptor. Sealed (memfd_create(2), `F_SEAL_WRITE`), because then the
//! gate sends exactly what it scanned: nobody can write to the file, not even the gate.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::fs::{MemfdFlags, SealFlags};

/// The memory that all packs in quarantine share.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: u64,
    used: AtomicU64,
}

impl Budget {
    /// A budget of `max` bytes.
    pub fn new(max: u64) -> Self {
        Self(Arc::new(Inner { max, used: AtomicU64::new(0) }))
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.0.max);
        self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }
}

/// Why a pack cannot be stored.
#[derive(Debug)]
pub enum Full {
    /// The pack is larger than one may be.
    Pack(u64),
    /// All packs together have used up the budget.
    Budget,
    /// The kernel has no more memory, or refuses.
    Kernel(io::Error),
}

/// The state of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Arriving,
    Whole,
    /// It stays incomplete: the client left, or the push was refused.
    Abandoned,
}

#[derive(Debug)]
struct Shared {
    file: File,
    progress: Mutex<(u64, State)>,
    changed: Condvar,
    budget: Budget,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let (written, _) = *self.progress.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.budget.0.used.fetch_sub(written, Ordering::Relaxed);
    }
}

/// Writes the pack.
#[derive(Debug)]
pub struct PackWriter {
    shared: Arc<Shared>,
    max: u64,
}

/// Reads the pack, also while it arrives.
#[derive(Clone, Debug)]
pub struct Quarantine(Arc<Shared>);

/// The pack stays incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned;

/// A store for a pack of at most `max` bytes.
pub fn quarantine(budget: &Budget, max: u64) -> io::Result<(PackWriter, Quarantine)> {
    let file = File::from(rustix::fs::memfd_create("pack", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    let progress = Mutex::new((0, State::Arriving));
    let shared = Arc::new(Shared { file, progress, changed: Condvar::new(), budget: budget.clone() });
    Ok((PackWriter { shared: shared.clone(), max }, Quarantine(shared)))
}

impl PackWriter {
    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let more = bytes.len() as u64;
        let (written, _) = *self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if written + more > self.max {
            return Err(Full::Pack(self.max));
        }
        if !self.shared.budget.take(more) {
            return Err(Full::Budget);
        }
        if let Err(error) = (&self.shared.file).write_all(bytes) {
            self.shared.budget.0.used.fetch_sub(more, Ordering::Relaxed);
            return Err(Full::Kernel(error));
        }
        self.change(|progress| progress.0 += more);
        Ok(())
    }

    /// Completes the pack: nobody can change it any more.
    pub fn seal(self) -> io::Result<()> {
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&self.shared.file, seals)?;
        self.change(|progress| progress.1 = State::Whole);
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut (u64, State))) {
        change(&mut self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.changed.notify_all();
    }
}

impl Drop for PackWriter {
    fn drop(&mut self) {
        self.change(|progress| {
            if progress.1 == State::Arriving {
                progress.1 = State::Abandoned;
            }
        });
    }
}

impl Quarantine {
    /// Reads at `at`, and waits until bytes are there; zero at the end of a complete pack.
    pub fn read_at(&self, at: u64, into: &mut [u8]) -> Result<usize, Abandoned> {
        let mut progress = self.0.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let available = loop {
            match *progress {
                (_, State::Abandoned) => return Err(Abandoned),
                (written, _) if written > at => break written - at,
                (_, State::Whole) => return Ok(0),
                _ => progress = self.0.changed.wait(progress).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(progress);
        let length = usize::try_from(available).unwrap_or(usize::MAX).min(into.len());
        self.0.file.read_at(&mut into[..length], at).map_err(|_| Abandoned)
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.0.progress.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// True once it is complete and nobody can change it.
    pub fn is_sealed(&self) -> bool {
        let needed = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK;
        rustix::fs::fcntl_get_seals(&self.0.file).is_ok_and(|seals| seals.contains(needed))
    }

    /// Gives up on it: its readers stop.
    pub fn abandon(&self) {
        self.0.progress.lock().unwrap_or_else(PoisonError::into_inner).1 = State::Abandoned;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_pack_cannot_be_changed_by_anybody() {
        let budget = Budget::new(100);
        let (mut writer, pack) = quarantine(&budget, 100).unwrap();
        writer.write(b"PACKed").unwrap();
        assert!(!pack.is_sealed());
        writer.seal().unwrap();
        assert!(pack.is_sealed());
        assert!((&pack.0.file).write_all(b"x").is_err());
        assert!(pack.0.file.write_at(b"x", 0).is_err());
        assert!(pack.0.file.set_len(3).is_err());
        let mut bytes = [0; 10];
        assert_eq!((pack.read_at(2, &mut bytes), pack.read_at(6, &mut bytes)), (Ok(4), Ok(0)));
        assert_eq!(&bytes[..4], b"CKed");
    }

    // covers: G16
    #[test]
    fn what_does_not_fit_is_refused_and_its_memory_is_returned() {
        let budget = Budget::new(10);
        let (mut first, first_pack) = quarantine(&budget, 8).unwrap();
        first.write(b"12345678").unwrap();
        assert!(matches!(first.write(b"9"), Err(Full::Pack(8))));
        let (mut second, _second) = quarantine(&budget, 8).unwrap();
        assert!(matches!(second.write(b"123"), Err(Full::Budget)));
        assert_eq!(budget.used(), 8);
        drop((first, first_pack));
        assert_eq!(budget.used(), 0);
        second.write(b"12345678").unwrap();
    }

    #[test]
    fn a_reader_waits_for_bytes_and_learns_that_none_will_come() {
        let (mut writer, pack) = quarantine(&Budget::new(10), 10).unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4];
            (pack.read_at(0, &mut bytes), pack.read_at(2, &mut bytes))
        });
        writer.write(b"ab").unwrap();
        drop(writer);
        assert!(matches!(reader.join().unwrap(), (Ok(2) | Err(Abandoned), Err(Abandoned))));
    }
}
