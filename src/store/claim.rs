//! A claim: the right to be the bottle with this id, held by a lock for as long as the process lives. It begins as a [`Reservation`].

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::lock::{self, Sharing};
use super::{Id, Layout, Metadata, Object, Supervisor, boot_id, start_time};
use crate::clock;
use crate::error::{Error, Result};
use crate::files::{Dir, entries, failed, random_hex};

/// How the directory of a bottle is called after it is given up.
const UNFINISHED: &str = ".new-";
/// How it is called before it is complete: followed by the id, which is then taken.
const RESERVED: &str = ".reserved-";
/// More bottles of one name are a mistake.
const MAX_CLAIMS: u64 = 10_000;
/// Where the logs of the components are, in the state directory.
const LOGS: &str = "logs";

/// An id that is ours before there is a bottle of this name: nothing else of it exists yet, and nobody can look at it.
///
/// It is a hidden directory with the bottle's lock in it. Dropped, it is removed; one whose process was killed is removed by the next start.
#[derive(Debug)]
pub struct Reservation {
    id: Id,
    /// Order matters: the directory is removed before its lock is released, after which somebody else may reserve the id.
    hidden: Hidden,
    lock: File,
    directory: Dir,
    store: Dir,
    memory: Dir,
    runtimes: Vec<Dir>,
}

/// The name of a reservation, which goes unless the directory has become a bottle.
#[derive(Debug)]
struct Hidden {
    store: Dir,
    name: String,
    is_claimed: bool,
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if !self.is_claimed {
            // Whoever sweeps meanwhile would find half of it.
            let _store_lock = lock::store(&self.store, Sharing::Alone);
            let _ = self.store.remove_tree(&self.name);
        }
    }
}

/// A bottle that is ours. Dropping it releases the lock and removes nothing.
///
/// The lock's descriptor is close-on-exec: a child that runs another program does not keep the bottle alive. A child that goes on
/// without exec must close its descriptors.
#[derive(Debug)]
pub struct Claim {
    id: Id,
    state: Dir,
    runtime: Option<Dir>,
    metadata: Metadata,
    damage: Option<Error>,
    store: Dir,
    runtimes: Vec<Dir>,
    lock: File,
}

/// Bytes of a file that bottles look at in each other's directories.
const MAX_SHARED_FILE_BYTES: u64 = 1 << 20;

/// What became of an attempt to take over a bottle.
#[derive(Debug)]
pub enum Takeover {
    /// Its supervisor lives.
    Running,
    /// There is no such bottle.
    Gone,
    /// Its supervisor ended; the bottle is ours now.
    Dead(Box<Claim>),
}

impl Reservation {
    /// Takes the id `pinned`, or the first free one of `base`, `base-2`, `base-3`, …
    ///
    /// An id is free when neither of its directories exists: a bottle that ended keeps its id as long as its logs are kept. Parallel starts
    /// wait for each other here, for about a millisecond.
    pub fn new(layout: &Layout, base: &str, pinned: Option<&str>) -> Result<Self> {
        let wanted: Id = pinned.unwrap_or(base).parse()?;
        let store = layout.open_state()?;
        let memory = layout.open_runtime()?;
        let store_lock = lock::store(&store, Sharing::Alone)?;
        // A tree that cannot be removed is reported by `bottle cleanup`, and keeps nobody from starting.
        sweep(&store);
        let runtimes = layout.existing_runtimes();
        let id = free(&store, &runtimes, &wanted, pinned.is_some())?;
        let name = reserved_name(&id);
        let guarded = store.again()?;
        let directory = store.make(name.as_ref()).map_err(|e| failed("create", &store.path().join(id.as_str()), "mkdirat", e))?;
        let lock = lock::fresh(&directory).inspect_err(|_| {
            // The first error is the one to report. What cannot be removed now is swept by the next start.
            let _ = store.remove_tree(&name);
        })?;
        drop(store_lock);
        Ok(Self { id, hidden: Hidden { store: guarded, name, is_claimed: false }, lock, directory, store, memory, runtimes })
    }

    /// The id.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// Makes the bottle: `state/<id>` and `runtime/<id>`, both 0700. It appears complete, locked and described before it has its name.
    pub fn claim(self) -> Result<Claim> {
        let pid = std::process::id();
        let supervisor = Supervisor { pid, start_time: start_time(pid).unwrap_or_default() };
        let objects = vec![Object::RuntimeDir(self.memory.path().join(self.id.as_str()))];
        let metadata = Metadata::new(self.id.clone(), clock::now(), boot_id()?, supervisor, objects);
        let runtime = {
            let _store_lock = lock::store(&self.store, Sharing::Alone)?;
            self.appear(&metadata)?
        };
        let Self { id, mut hidden, lock, directory, store, runtimes, .. } = self;
        hidden.is_claimed = true;
        let state = directory.moved_to(store.path().join(id.as_str()));
        Ok(Claim { id, state, runtime: Some(runtime), metadata, damage: None, store, runtimes, lock })
    }

    /// Order matters: the record of the runtime directory is in place before that directory is made.
    fn appear(&self, metadata: &Metadata) -> Result<Dir> {
        let (hidden, id) = (self.hidden.name.as_str(), self.id.as_str());
        metadata.write(&self.directory)?;
        let rename = |from: &str, to: &str| rustix::fs::renameat(&self.store, from, &self.store, to);
        rename(hidden, id).map_err(|e| failed("create", &self.store.path().join(id), "renameat", e))?;
        self.memory.make(id.as_ref()).map_err(|e| {
            // Hidden again, so that it is removed. Both names are ours under the store's lock.
            let _ = rename(id, hidden);
            failed("create", &self.memory.path().join(id), "mkdirat", e)
        })
    }
}

impl Claim {
    /// Reserves an id and claims it at once.
    pub fn new(layout: &Layout, base: &str, pinned: Option<&str>) -> Result<Self> {
        Reservation::new(layout, base, pinned)?.claim()
    }

    /// Takes over a bottle whose supervisor ended, to undo what it left.
    pub fn take_over(layout: &Layout, id: &Id) -> Result<Takeover> {
        let Some(store) = Dir::open_private(&layout.state)? else { return Ok(Takeover::Gone) };
        let _store_lock = lock::store(&store, Sharing::Alone)?;
        if store.stat(id.as_str())?.is_none() {
            return Ok(Takeover::Gone);
        }
        let state = store.open_subdir(id.as_str())?;
        // A bottle appears with its lock; one without was damaged later, and nobody can hold it.
        if state.stat(lock::OF_BOTTLE)?.is_none() {
            state.write_new(lock::OF_BOTTLE, b"", crate::files::PRIVATE)?;
        }
        let Some(lock) = lock::take(&state)? else { return Ok(Takeover::Running) };
        let recorded = Metadata::read(&state, id);
        let mut runtimes = layout.existing_runtimes();
        // It may have been started with another XDG_RUNTIME_DIR.
        runtimes.extend(recorded.iter().flat_map(|metadata| elsewhere(metadata, layout)));
        let runtime = runtimes.iter().find_map(|dir| dir.open_subdir(id.as_str()).ok());
        let (metadata, damage) = match recorded {
            Ok(metadata) => (metadata, None),
            Err(damage) => {
                let objects = runtime.iter().map(|dir| Object::RuntimeDir(dir.path().to_owned())).collect();
                let nobody = Supervisor { pid: 0, start_time: 0 };
                (Metadata::new(id.clone(), clock::now(), String::new(), nobody, objects), Some(damage))
            }
        };
        Ok(Takeover::Dead(Box::new(Self { id: id.clone(), state, runtime, metadata, damage, store, runtimes, lock })))
    }

    /// Removes what killed claims and removals left unfinished. What cannot be removed, each with its error.
    pub fn sweep_unfinished(layout: &Layout) -> Result<Vec<(PathBuf, Error)>> {
        let Some(store) = Dir::open_private(&layout.state)? else { return Ok(Vec::new()) };
        let _store_lock = lock::store(&store, Sharing::Alone)?;
        Ok(sweep(&store))
    }

    /// Keeps other starts from giving out ids, or anything else that all bottles share, until the value is dropped.
    pub fn lock_store(&self) -> Result<File> {
        lock::store(&self.store, Sharing::Alone)
    }

    /// The file of this name in each of the other bottles' directories.
    pub fn others(&self, name: &str) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        for entry in entries(&self.store)? {
            if entry == self.id.as_str() || entry.to_str().is_none_or(|entry| entry.parse::<Id>().is_err()) {
                continue;
            }
            // A bottle that goes meanwhile, and one without the file, has none.
            found.extend(self.store.open_subdir(&entry).and_then(|dir| dir.read_bounded(name, MAX_SHARED_FILE_BYTES)).ok());
        }
        Ok(found)
    }

    /// The id.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// `state/<id>`: on disk, without any secret.
    pub fn state(&self) -> &Dir {
        &self.state
    }

    /// `runtime/<id>`: in memory, for keys, secrets and sockets.
    pub fn runtime(&self) -> Result<&Dir> {
        let hint = "start it again";
        self.runtime
            .as_ref()
            .ok_or_else(|| Error::failed(format!("the runtime directory of `{}` is gone", self.id), "it does not outlive a reboot", hint))
    }

    /// `state/<id>/logs`.
    pub fn logs(&self) -> Result<Dir> {
        self.state.subdir(LOGS)
    }

    /// Where the agent's work is, if there is a trace of any. It is asked for where the record cannot tell.
    pub fn work(&self) -> Option<PathBuf> {
        let workspace = self.state.open_subdir("workspace").ok()?;
        let has_some = |name: &str| workspace.open_subdir(name).and_then(|dir| entries(&dir)).is_ok_and(|names| !names.is_empty());
        ["upper", "copy"].into_iter().find(|name| has_some(name)).map(|name| workspace.path().join(name))
    }

    /// What is recorded.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Why the metadata of a bottle that was taken over could not be read. It then names the runtime directory only.
    pub fn damage(&self) -> Option<&Error> {
        self.damage.as_ref()
    }

    /// Records an object. Call it before the object is made.
    pub fn record(&mut self, object: Object) -> Result<()> {
        self.update(|metadata| metadata.objects.push(object))
    }

    /// Forgets an object. Call it after the object was undone.
    pub fn forget(&mut self, object: &Object) -> Result<()> {
        self.update(|metadata| metadata.objects.retain(|other| other != object))
    }

    /// Changes what is recorded; a reader sees all of the change or nothing. A damaged record stays as it is: it may be all that leads to
    /// the agent's work.
    pub fn update(&mut self, change: impl FnOnce(&mut Metadata)) -> Result<()> {
        let mut changed = self.metadata.clone();
        change(&mut changed);
        if self.damage.is_none() {
            changed.write(&self.state)?;
        }
        self.metadata = changed;
        Ok(())
    }

    /// Removes `runtime/<id>` with all keys and secrets; it is no error if it is gone.
    pub fn remove_runtime(&mut self) -> Result<()> {
        self.runtime = None;
        let mut first = Ok(());
        for dir in &self.runtimes {
            let removed = dir.remove_tree(self.id.as_str());
            first = first.and(removed);
        }
        first
    }

    /// Removes everything about the bottle, its logs too, and gives the id free.
    pub fn remove(mut self) -> Result<()> {
        self.remove_runtime()?;
        let _store_lock = lock::store(&self.store, Sharing::Alone)?;
        let hidden = hidden_name()?;
        // Renamed first: nobody finds half a bottle, and what a crash leaves here is swept by the next claim.
        let name = match rustix::fs::renameat(&self.store, self.id.as_str(), &self.store, &hidden) {
            Ok(()) => hidden.as_str(),
            // A longer name can need a block of its own: rather half a bottle for a moment than none removed.
            Err(Errno::NOSPC | Errno::DQUOT) => self.id.as_str(),
            Err(e) => return Err(failed("remove", &self.store.path().join(self.id.as_str()), "renameat", e)),
        };
        drop(self.lock);
        self.store.remove_tree(name)
    }
}

/// The directories in memory that metadata name and this environment does not: only those that are named like ours.
fn elsewhere(metadata: &Metadata, layout: &Layout) -> Vec<Dir> {
    let parents = metadata.objects.iter().filter_map(|object| match object {
        Object::RuntimeDir(path) if path.file_name().is_some_and(|name| name == metadata.id.as_str()) => path.parent(),
        _ => None,
    });
    let ours = |path: &&Path| {
        !layout.runtime.iter().any(|known| known == path) && layout.runtime.iter().all(|known| known.file_name() == path.file_name())
    };
    parents.filter(ours).filter_map(|path| Dir::open_private(path).ok().flatten()).collect()
}

/// The first id that nobody has.
fn free(store: &Dir, runtimes: &[Dir], wanted: &Id, pinned: bool) -> Result<Id> {
    for n in 1..=MAX_CLAIMS {
        let id = wanted.numbered(n);
        let mut taken = store.stat(id.as_str())?.is_some() || store.stat(reserved_name(&id))?.is_some();
        for dir in runtimes {
            taken |= dir.stat(id.as_str())?.is_some();
        }
        if !taken {
            return Ok(id);
        }
        if pinned {
            let what = format!("cannot start bottle `{id}`: the name is taken");
            return Err(Error::failed(
                what,
                "a bottle of this name starts or runs, or its logs are kept",
                format!("`bottle list` shows it, `bottle rm {id}` removes it once it has ended"),
            ));
        }
    }
    let cause = format!("{MAX_CLAIMS} bottles are called `{wanted}`");
    Err(Error::failed("there is no free name", cause, "`bottle cleanup --all` removes what has ended"))
}

/// Removes what removals left unfinished, and reservations of processes that have ended. The store's lock is held alone, so that no removal
/// is under way.
fn sweep(store: &Dir) -> Vec<(PathBuf, Error)> {
    let left = [UNFINISHED, crate::files::TEMPORARY].map(|prefix| store.sweep(prefix));
    let reserved = entries(store).unwrap_or_default();
    let dead = reserved.into_iter().filter(|name| name.as_encoded_bytes().starts_with(RESERVED.as_bytes()) && !is_reserved(store, name));
    let dead = dead.filter_map(|name| store.remove_tree(&name).err().map(|error| (name, error)));
    left.into_iter().flatten().chain(dead).map(|(name, error)| (store.path().join(name), error)).collect()
}

/// True while the process that made a reservation lives.
fn is_reserved(store: &Dir, name: &OsStr) -> bool {
    store.open_subdir(name).and_then(|directory| lock::is_held(&directory)).unwrap_or(false)
}

/// How the directory of an id is called that is reserved.
fn reserved_name(id: &Id) -> String {
    format!("{RESERVED}{id}")
}

fn hidden_name() -> Result<String> {
    let hex = random_hex().map_err(|e: Errno| failed("name", &PathBuf::from("a directory"), "getrandom", e))?;
    Ok(format!("{UNFINISHED}{hex}"))
}
