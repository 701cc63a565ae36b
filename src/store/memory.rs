//! Runtime directories of bottles whose state directory is gone: keys and secrets without any record on disk.

use std::fs;
use std::path::Path;

use super::lock::{self, Sharing};
use super::{Id, Layout};
use crate::error::{Error, Result};
use crate::files::{Dir, entries};

/// The runtime directory of one such bottle.
#[derive(Debug)]
pub struct Forgotten {
    /// The bottle.
    pub id: Id,
    parent: Dir,
}

impl Forgotten {
    /// All of them.
    pub fn list(layout: &Layout) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        // Without the store's directory no start is in progress: a start creates it first.
        let store = Dir::open_private(&layout.state)?;
        let _store_lock = store.as_ref().map(|store| lock::store(store, Sharing::Alone)).transpose()?;
        for parent in layout.existing_runtimes() {
            for id in entries(&parent)?.iter().filter_map(|name| name.to_str()?.parse::<Id>().ok()) {
                let is_known = store.as_ref().map(|store| store.stat(id.as_str())).transpose()?.flatten().is_some();
                if !is_known {
                    let parent = parent.again()?;
                    found.push(Self { id, parent });
                }
            }
        }
        Ok(found)
    }

    /// Removes it, unless its supervisor is running.
    pub fn remove(&self) -> Result<()> {
        let path = self.parent.path().join(self.id.as_str());
        if let Some(pid) = user(&path) {
            return Err(Error::failed(
                format!("bottle `{}` is running, but its state directory is gone", self.id),
                format!("process {pid} has {} open", path.display()),
                format!("`kill {pid}` stops it, `bottle cleanup` removes its leftovers"),
            ));
        }
        self.parent.remove_tree(self.id.as_str())
    }
}

/// A process that has the directory open, as a supervisor has during its lifetime.
fn user(directory: &Path) -> Option<u32> {
    let pids = fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let has_open = |pid: &u32| {
        let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        links.filter_map(|link| fs::read_link(link.ok()?.path()).ok()).any(|target| target == directory)
    };
    pids.into_iter().find(has_open)
}
