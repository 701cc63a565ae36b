//! Lists all bottles of this operator, without trusting the content of the state directory.

use super::holder::{self, Holder};
use super::lock;
use super::process_identity::{self, is_running};
use super::{Id, Layout, Metadata, Object, Phase, boot_id};
use crate::error::Result;
use crate::files::{Dir, entries};

/// All bottles.
#[derive(Debug)]
pub struct Bottles;

/// One bottle.
#[derive(Debug)]
pub struct Entry {
    /// Its id.
    pub id: Id,
    /// Its status.
    pub status: Status,
    /// Its metadata, if it can be read.
    pub metadata: Option<Metadata>,
    /// It was started in this boot of the machine, so its pids are meaningful.
    pub same_boot: bool,
}

/// The status of a bottle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its supervisor holds its lock.
    Running,
    /// It exited and was torn down.
    Ended,
    /// Its supervisor is gone, but it was not torn down.
    Crashed,
    /// Its supervisor is gone, but these processes hold its lock.
    Held(Vec<Holder>),
    /// It is damaged; this is the reason.
    Unreadable(String),
}

impl Entry {
    /// Processes that outlived the supervisor: holders of its lock, and recorded ones.
    pub fn remains(&self) -> Vec<u32> {
        match &self.status {
            Status::Held(holders) => holders.iter().map(|holder| holder.pid).collect(),
            _ => self.recorded().filter(|(pid, start)| is_running(*pid, *start)).map(|(pid, _)| pid).collect(),
        }
    }

    /// Kills these processes and waits for them. A process that may not be ours is an error.
    pub fn end_remains(&self) -> Result<()> {
        match &self.status {
            Status::Held(holders) => holders.iter().try_for_each(Holder::end),
            _ => self.recorded().try_for_each(|(pid, start)| process_identity::end(pid, start)),
        }
    }

    /// The recorded processes of a bottle whose supervisor is gone.
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
    /// Every bottle, by name. Damaged bottles are listed as such. Names that are not ids are skipped.
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
        // The lock first: data that is read after it cannot be older.
        let is_locked = lock::is_held(&dir)?;
        Ok((is_locked.then_some(dir.open_file(lock::OF_BOTTLE)?), Metadata::read(&dir, &id)))
    };
    match read() {
        Ok((Some(lock), metadata)) => {
            let metadata = metadata.ok();
            let status = status_of_held_lock(&lock, metadata.as_ref(), boot);
            entry(id, status, metadata, boot)
        }
        Ok((None, Ok(metadata))) => {
            // Teardown may have failed to remove some objects.
            let whole = metadata.exit.is_some() && metadata.phase == Phase::Ended;
            let status = if whole { Status::Ended } else { Status::Crashed };
            entry(id, status, Some(metadata), boot)
        }
        Ok((None, Err(e))) | Err(e) => entry(id, Status::Unreadable(format!("{}: {}", e.what, e.cause)), None, boot),
    }
}

/// A held lock means that the bottle is running, unless only other processes certainly hold it.
fn status_of_held_lock(lock: &std::fs::File, metadata: Option<&Metadata>, boot: &str) -> Status {
    if metadata.is_some_and(|m| m.boot_id == boot && is_running(m.supervisor.pid, m.supervisor.start_time)) {
        return Status::Running;
    }
    let holders = holder::copies(lock);
    if holders.is_empty() { Status::Running } else { Status::Held(holders) }
}

fn entry(id: Id, status: Status, metadata: Option<Metadata>, boot: &str) -> Entry {
    let same_boot = metadata.as_ref().is_some_and(|metadata| metadata.boot_id == boot);
    Entry { id, status, metadata, same_boot }
}
