//! All bottles of this operator, read without trusting what lies in the state directory.

use super::holder::{self, Holder};
use super::lock;
use super::process::{self, lives};
use super::{Id, Layout, Metadata, Object, Phase, boot_id};
use crate::error::Result;
use crate::files::{Dir, entries};

/// The bottles that there are.
#[derive(Debug)]
pub struct Bottles;

/// One bottle.
#[derive(Debug)]
pub struct Entry {
    /// Its id.
    pub id: Id,
    /// Whether it lives.
    pub status: Status,
    /// What is recorded about it, if that can be read.
    pub metadata: Option<Metadata>,
    /// It was started in this boot of the machine, so that its pids still mean something.
    pub same_boot: bool,
}

/// Whether a bottle lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its supervisor holds its lock.
    Running,
    /// It ended and was torn down.
    Ended,
    /// Its supervisor is gone, but it was not torn down.
    Crashed,
    /// Its supervisor is gone, and these keep its lock.
    Held(Vec<Holder>),
    /// What lies there cannot be read as a bottle, for this reason.
    Unreadable(String),
}

impl Entry {
    /// Processes that are still there though the supervisor is gone: who keeps its lock, and recorded ones.
    pub fn remains(&self) -> Vec<u32> {
        match &self.status {
            Status::Held(holders) => holders.iter().map(|holder| holder.pid).collect(),
            _ => self.recorded().filter(|(pid, start)| lives(*pid, *start)).map(|(pid, _)| pid).collect(),
        }
    }

    /// Ends these processes, and waits for their end. One that is not certainly ours is an error.
    pub fn end_remains(&self) -> Result<()> {
        match &self.status {
            Status::Held(holders) => holders.iter().try_for_each(Holder::end),
            _ => self.recorded().try_for_each(|(pid, start)| process::end(pid, start)),
        }
    }

    /// The processes in the record of a bottle whose supervisor is gone.
    fn recorded(&self) -> impl Iterator<Item = (u32, u64)> {
        let counts = self.same_boot && matches!(self.status, Status::Crashed);
        let objects = self.metadata.iter().filter(move |_| counts).flat_map(|metadata| &metadata.objects);
        objects.filter_map(|object| match object {
            Object::Process { pid, start_time, .. } => Some((*pid, *start_time)),
            _ => None,
        })
    }
}

impl Bottles {
    /// Every bottle, by name. What is damaged is listed as such; names that are no ids are nobody's bottle and left out.
    pub fn list(layout: &Layout) -> Result<Vec<Entry>> {
        let Some(store) = Dir::open_private(&layout.state)? else { return Ok(Vec::new()) };
        let boot = boot_id()?;
        let _store_lock = lock::readers(&store)?;
        let names = entries(&store)?;
        let ids = names.iter().filter_map(|name| name.to_str()?.parse::<Id>().ok());
        Ok(ids.map(|id| look(&store, id, &boot)).collect())
    }

    /// The bottle `id`, if there is one.
    pub fn find(layout: &Layout, id: &Id) -> Result<Option<Entry>> {
        let Some(store) = Dir::open_private(&layout.state)? else { return Ok(None) };
        if store.stat(id.as_str())?.is_none() {
            return Ok(None);
        }
        let boot = boot_id()?;
        let _store_lock = lock::readers(&store)?;
        Ok(Some(look(&store, id.clone(), &boot)))
    }
}

fn look(store: &Dir, id: Id, boot: &str) -> Entry {
    let read = || {
        let dir = store.open_subdir(id.as_str())?;
        // The lock is looked at first: what is read afterwards cannot be older than the answer.
        let held = lock::is_held(&dir)?;
        Ok((held.then_some(dir.open_file(lock::OF_BOTTLE)?), Metadata::read(&dir, &id)))
    };
    match read() {
        Ok((Some(lock), metadata)) => {
            let metadata = metadata.ok();
            let status = held(&lock, metadata.as_ref(), boot);
            entry(id, status, metadata, boot)
        }
        Ok((None, Ok(metadata))) => {
            // A bottle may have ended with something left that could not be removed.
            let whole = metadata.exit.is_some() && metadata.phase == Phase::Ended;
            let status = if whole { Status::Ended } else { Status::Crashed };
            entry(id, status, Some(metadata), boot)
        }
        Ok((None, Err(e))) | Err(e) => entry(id, Status::Unreadable(format!("{}: {}", e.what, e.cause)), None, boot),
    }
}

/// A lock that is held belongs to a bottle that runs, unless it is certain that only others keep it.
fn held(lock: &std::fs::File, metadata: Option<&Metadata>, boot: &str) -> Status {
    if metadata.is_some_and(|m| m.boot_id == boot && lives(m.supervisor.pid, m.supervisor.start_time)) {
        return Status::Running;
    }
    let holders = holder::copies(lock);
    if holders.is_empty() { Status::Running } else { Status::Held(holders) }
}

fn entry(id: Id, status: Status, metadata: Option<Metadata>, boot: &str) -> Entry {
    let same_boot = metadata.as_ref().is_some_and(|metadata| metadata.boot_id == boot);
    Entry { id, status, metadata, same_boot }
}
