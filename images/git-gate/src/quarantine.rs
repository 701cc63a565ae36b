//! Where a pack waits for its verdict: a file in memory that nobody can change once it is whole.
//!
//! In memory, because what an agent pushes may hold what it has stolen, and a refused pack must leave nothing on a disk,
//! whatever ends the gate. The kernel frees it with the last descriptor. Sealed (memfd_create(2), `F_SEAL_WRITE`),
//! because then what was scanned is what is sent: there is no way to write to it, for the gate itself neither.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::fs::{MemfdFlags, SealFlags};

/// Bytes that all packs in quarantine may take together.
#[derive(Clone, Debug)]
pub struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: u64,
    taken: AtomicU64,
}

impl Room {
    /// Room for so many bytes.
    pub fn new(most: u64) -> Self {
        Self(Arc::new(Inner { most, taken: AtomicU64::new(0) }))
    }

    /// Bytes that are taken now.
    pub fn taken(&self) -> u64 {
        self.0.taken.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let fits = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= self.0.most);
        self.0.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }
}

/// Why a pack cannot be kept.
#[derive(Debug)]
pub enum Full {
    /// Of this push alone.
    Pack(u64),
    /// Of all pushes together.
    Room,
    /// The kernel has no more memory, or refuses.
    Kernel(io::Error),
}

/// How far a pack has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Arriving,
    Whole,
    /// It will not go on: the client left, or the push was refused.
    Abandoned,
}

#[derive(Debug)]
struct Shared {
    file: File,
    progress: Mutex<(u64, State)>,
    changed: Condvar,
    room: Room,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let (written, _) = *self.progress.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.room.0.taken.fetch_sub(written, Ordering::Relaxed);
    }
}

/// The end that is written to.
#[derive(Debug)]
pub struct Inlet {
    shared: Arc<Shared>,
    most: u64,
}

/// The end that is read, also while the pack arrives.
#[derive(Clone, Debug)]
pub struct Quarantine(Arc<Shared>);

/// The pack will not be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned;

/// A pack of at most `most` bytes.
pub fn quarantine(room: &Room, most: u64) -> io::Result<(Inlet, Quarantine)> {
    let file = File::from(rustix::fs::memfd_create("pack", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    let progress = Mutex::new((0, State::Arriving));
    let shared = Arc::new(Shared { file, progress, changed: Condvar::new(), room: room.clone() });
    Ok((Inlet { shared: shared.clone(), most }, Quarantine(shared)))
}

impl Inlet {
    /// Keeps the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let more = bytes.len() as u64;
        let (written, _) = *self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if written + more > self.most {
            return Err(Full::Pack(self.most));
        }
        if !self.shared.room.take(more) {
            return Err(Full::Room);
        }
        if let Err(error) = (&self.shared.file).write_all(bytes) {
            self.shared.room.0.taken.fetch_sub(more, Ordering::Relaxed);
            return Err(Full::Kernel(error));
        }
        self.change(|progress| progress.0 += more);
        Ok(())
    }

    /// All of it is there: from now on nobody can change it.
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

impl Drop for Inlet {
    fn drop(&mut self) {
        self.change(|progress| {
            if progress.1 == State::Arriving {
                progress.1 = State::Abandoned;
            }
        });
    }
}

impl Quarantine {
    /// Reads at `at`, waiting until something is there; nothing at the end of a whole pack.
    pub fn read_at(&self, at: u64, into: &mut [u8]) -> Result<usize, Abandoned> {
        let mut progress = self.0.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let there = loop {
            match *progress {
                (_, State::Abandoned) => return Err(Abandoned),
                (written, _) if written > at => break written - at,
                (_, State::Whole) => return Ok(0),
                _ => progress = self.0.changed.wait(progress).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(progress);
        let most = usize::try_from(there).unwrap_or(usize::MAX).min(into.len());
        self.0.file.read_at(&mut into[..most], at).map_err(|_| Abandoned)
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.0.progress.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// True once it is whole and nobody can change it.
    pub fn is_sealed(&self) -> bool {
        let needed = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK;
        rustix::fs::fcntl_get_seals(&self.0.file).is_ok_and(|seals| seals.contains(needed))
    }

    /// Nothing more is expected of it: whoever reads it stops.
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
        let room = Room::new(100);
        let (mut inlet, pack) = quarantine(&room, 100).unwrap();
        inlet.write(b"PACKed").unwrap();
        assert!(!pack.is_sealed());
        inlet.seal().unwrap();
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
    fn what_does_not_fit_is_refused_and_its_room_comes_back() {
        let room = Room::new(10);
        let (mut first, held) = quarantine(&room, 8).unwrap();
        first.write(b"12345678").unwrap();
        assert!(matches!(first.write(b"9"), Err(Full::Pack(8))));
        let (mut second, _second) = quarantine(&room, 8).unwrap();
        assert!(matches!(second.write(b"123"), Err(Full::Room)));
        assert_eq!(room.taken(), 8);
        drop((first, held));
        assert_eq!(room.taken(), 0);
        second.write(b"12345678").unwrap();
    }

    #[test]
    fn a_reader_waits_for_bytes_and_learns_that_none_will_come() {
        let (mut inlet, pack) = quarantine(&Room::new(10), 10).unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4];
            (pack.read_at(0, &mut bytes), pack.read_at(2, &mut bytes))
        });
        inlet.write(b"ab").unwrap();
        drop(inlet);
        assert!(matches!(reader.join().unwrap(), (Ok(2) | Err(Abandoned), Err(Abandoned))));
    }
}
