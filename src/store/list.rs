//! All bottles of this operator, read without trusting what lies in the state directory.

use super::lock::{self, Sharing};
use super::{Id, Layout, Metadata, Phase, boot_id};
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
    /// What lies there cannot be read as a bottle, for this reason.
    Unreadable(String),
}

impl Bottles {
    /// Every bottle, by name. What is damaged is listed as such; names that are no ids are nobody's bottle and left out.
    pub fn list(layout: &Layout) -> Result<Vec<Entry>> {
        let Some(store) = Dir::open_private(&layout.state)? else { return Ok(Vec::new()) };
        let boot = boot_id()?;
        let _store_lock = lock::store(&store, Sharing::WithReaders)?;
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
        let _store_lock = lock::store(&store, Sharing::WithReaders)?;
        Ok(Some(look(&store, id.clone(), &boot)))
    }
}

fn look(store: &Dir, id: Id, boot: &str) -> Entry {
    let read = || {
        let dir = store.open_subdir(id.as_str())?;
        // The lock is looked at first: what is read afterwards cannot be older than the answer.
        let held = lock::is_held(&dir)?;
        Ok((held, Metadata::read(&dir, &id)))
    };
    match read() {
        Ok((true, metadata)) => entry(id, Status::Running, metadata.ok(), boot),
        Ok((false, Ok(metadata))) => {
            // A bottle may have ended with something left that could not be removed.
            let whole = metadata.exit.is_some() && metadata.phase == Phase::Ended;
            let status = if whole { Status::Ended } else { Status::Crashed };
            entry(id, status, Some(metadata), boot)
        }
        Ok((false, Err(e))) | Err(e) => entry(id, Status::Unreadable(format!("{}: {}", e.what, e.cause)), None, boot),
    }
}

fn entry(id: Id, status: Status, metadata: Option<Metadata>, boot: &str) -> Entry {
    let same_boot = metadata.as_ref().is_some_and(|metadata| metadata.boot_id == boot);
    Entry { id, status, metadata, same_boot }
}
