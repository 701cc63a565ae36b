//! Bringing an agent's changes into the operator's tree: what can be taken is taken, what is in conflict stays out and is listed, and all of it
//! can be undone.
//!
//! Invariants: no access leaves the tree or follows a symlink in it; no file is setuid, setgid, sticky, or writable for others than
//! before; what the operator changed is merged or stays; a crash at any point leaves each file old or new.

use std::path::PathBuf;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::base::Base;
use super::copy::content;
use super::decide::{Choices, Fate, decide, mode};
use super::journal::{self, Entry, Journal, Phase, State};
use super::replace::{self, New, staged};
use super::tree::{Access, Tree, called_off, file_type, words};
use super::{Change, Changes, Kind, Node, Skipped};
use crate::error::{Error, Result};
use crate::files::{Dir, PRIVATE, beneath, failed, random_hex};

/// How the directory is called in which new files wait beside their destination.
pub(super) const STAGING: &str = ".bottle-apply-";

/// What became of the changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Made as the agent has them, in this order.
    pub done: Vec<PathBuf>,
    /// Made of both versions.
    pub merged: Vec<PathBuf>,
    /// Made of both versions, with markers where they differ.
    pub marked: Vec<PathBuf>,
    /// The tree was so already.
    pub already: u64,
    /// Yours, as was chosen.
    pub ours: Vec<PathBuf>,
    /// What stays out, and why.
    pub out: Vec<Skipped>,
}

impl Applied {
    /// Everything is in the tree that the operator wants there.
    pub fn is_whole(&self) -> bool {
        self.out.is_empty() && self.marked.is_empty()
    }
}

/// Where an apply takes place.
pub struct Place<'d> {
    /// What the agent wrote.
    pub new: &'d Dir,
    /// The operator's tree.
    pub target: &'d Dir,
    /// Copies of files as they were at the start.
    pub base: Option<&'d Dir>,
    /// The bottle's own directory, for what is overwritten.
    pub bottle: &'d Dir,
    /// What changed at or after this moment, by [`crate::clock::file_nanos`], is the operator's.
    pub since: u64,
}

/// One change that is made.
struct Step<'c> {
    change: &'c Change,
    fate: Fate,
    there: Option<Stat>,
}

/// Makes `changes` in the tree.
pub fn apply(changes: &Changes, place: &Place<'_>, choices: &Choices) -> Result<Applied> {
    let (new, old) = (Tree::agents(place.new), Tree::operators(place.target));
    let _lock = if choices.dry_run { None } else { Some(lock(place.target)?) };
    let mut applied = Applied { out: changes.skipped.clone(), ..Applied::default() };
    let mut steps = Vec::new();
    for decided in decide(&changes.list, new, old, Base::new(place.base, place.since), choices) {
        match decided.fate {
            Fate::Already => applied.already += 1,
            Fate::Ours => applied.ours.push(decided.change.path.clone()),
            Fate::Out(why) => applied.out.push(Skipped { path: decided.change.path.clone(), why }),
            fate => steps.push(Step { change: decided.change, fate, there: decided.there }),
        }
    }
    if steps.is_empty() {
        return Ok(applied);
    }
    if choices.dry_run {
        steps.iter().for_each(|step| note(step, &mut applied));
        return Ok(applied);
    }
    let staging = staging(place.target)?;
    let made = transact(steps, new, old, &staging, place.bottle, &mut applied);
    let swept = staging_removed(place.target, &staging);
    made?;
    swept?;
    applied.out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(applied)
}

/// One apply or undo at a time, in one tree. What an earlier one left that was killed is removed.
pub(super) fn lock(target: &Dir) -> Result<std::fs::File> {
    let fd = rustix::io::fcntl_dupfd_cloexec(target, 0).map_err(|e| failed("lock", target.path(), "fcntl", e))?;
    let own = rustix::fs::openat(&fd, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| failed("lock", target.path(), "openat", e))?;
    match rustix::fs::flock(&own, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) | Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::INVAL) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(Error::failed("another `bottle apply` is under way here", "it has locked the directory", "wait until it ends"));
        }
        Err(e) => return Err(failed("lock", target.path(), "flock", e)),
    }
    target.sweep(STAGING).into_iter().try_for_each(|(_, error)| Err(error))?;
    Ok(own.into())
}

pub(super) fn staging(target: &Dir) -> Result<Dir> {
    let hex = random_hex().map_err(|e| failed("prepare changes for", target.path(), "getrandom", e))?;
    target.make(format!("{STAGING}{hex}").as_ref()).map_err(|e| failed("prepare changes in", target.path(), "mkdirat", e))
}

pub(super) fn staging_removed(target: &Dir, staging: &Dir) -> Result<()> {
    target.remove_tree(staging.path().file_name().unwrap_or_default())
}

/// Order matters: new content first, as that can run out of space; then copies of the old, and the journal; only then the tree.
fn transact(steps: Vec<Step<'_>>, new: Tree<'_>, old: Tree<'_>, staging: &Dir, bottle: &Dir, applied: &mut Applied) -> Result<()> {
    let dir = journal::next(bottle)?;
    let mut journal = Journal { phase: Phase::Begun, entries: Vec::new() };
    let mut ready = Vec::new();
    for step in ordered(steps) {
        called_off().map_err(|e| failed("prepare changes in", staging.path(), "apply", e))?;
        let index = ready.len();
        match prepare(&step, index, new, old, staging, &dir) {
            Ok(entry) => {
                journal.entries.push(entry);
                ready.push(step);
            }
            Err(e) => {
                let _ = staging.remove_tree(staged(index));
                let _ = dir.remove_tree(staged(index));
                applied.out.push(Skipped { path: step.change.path.clone(), why: reason(e) });
            }
        }
    }
    rustix::fs::syncfs(&dir).map_err(|e| failed("sync", dir.path(), "syncfs", e))?;
    journal.write(&dir)?;
    for (index, (step, entry)) in ready.iter().zip(&journal.entries).enumerate() {
        let new = match &entry.after {
            State::Absent | State::Other => New::Nothing,
            State::Dir { mode } => New::Dir(*mode),
            State::File { .. } if entry.in_place => New::Content,
            State::File { .. } | State::Symlink { .. } => New::Staged,
        };
        match replace::replace(old, &entry.path, step.there.as_ref(), new, index, staging) {
            Ok(()) => note(step, applied),
            Err(e) => applied.out.push(Skipped { path: entry.path.clone(), why: reason(e) }),
        }
    }
    for (step, entry) in ready.iter().zip(&journal.entries).rev() {
        if let (State::Dir { mode }, true) = (&entry.after, applied.done.contains(&step.change.path))
            && let Err(e) = replace::settle(old, &entry.path, *mode)
        {
            applied.out.push(Skipped { path: entry.path.clone(), why: reason(e) });
        }
    }
    journal.phase = Phase::Finished;
    journal.write(&dir)
}

/// Deletions from the deepest up, then the rest from the root down.
fn ordered(steps: Vec<Step<'_>>) -> impl Iterator<Item = Step<'_>> {
    let (mut deletions, others): (Vec<_>, Vec<_>) = steps.into_iter().partition(|step| step.change.kind == Kind::Deleted);
    deletions.reverse();
    deletions.into_iter().chain(others)
}

/// Puts the new beside its destination and a copy of the old into the journal's directory.
fn prepare(step: &Step<'_>, index: usize, new: Tree<'_>, old: Tree<'_>, staging: &Dir, dir: &Dir) -> Access<Entry> {
    let path = &step.change.path;
    let before = before(path, step.there.as_ref(), index, old, dir)?;
    let saved = matches!(before, State::File { .. }).then(|| staged(index));
    let in_place = step.there.as_ref().is_some_and(|stat| file_type(stat) == FileType::RegularFile && stat.st_nlink > 1);
    let bits = mode(step.change, step.there.as_ref());
    let after = match (&step.change.node, step.change.kind) {
        (_, Kind::Deleted) | (Node::Other, _) => State::Absent,
        (Node::Dir, _) => State::Dir { mode: bits },
        (Node::Symlink { target }, _) => {
            rustix::fs::symlinkat(target.as_os_str(), staging, staged(index))?;
            State::Symlink { target: target.as_encoded_bytes().to_vec() }
        }
        (Node::File { .. }, _) => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
            let to = staging.beneath(staged(index).as_ref(), flags, Mode::from_raw_mode(PRIVATE))?;
            match &step.fate {
                Fate::Merge { text, .. } => super::copy::write_all(&to, text).map_err(|(_, e)| e)?,
                _ => content(&new.file(path)?, &to).map(drop).map_err(|(_, e)| e)?,
            }
            let directory = match old.parent(path) {
                Ok((parent, _)) => rustix::fs::fstat(&parent)?,
                // It is made by this apply, too, as the tree's own directory is.
                Err(_) => old.root_stat()?,
            };
            replace::own(&to, step.there.as_ref().map(|stat| (stat.st_uid, stat.st_gid)), &directory)?;
            rustix::fs::fchmod(&to, Mode::from_raw_mode(bits))?;
            let reread = staging.beneath(staged(index).as_ref(), OFlags::RDONLY, Mode::empty())?;
            State::file(&std::fs::File::from(reread), &rustix::fs::fstat(&to)?)?
        }
    };
    Ok(Entry { path: path.clone(), before, in_place: in_place && matches!(after, State::File { .. }), after, saved })
}

/// What is at the path, with a copy of a file; `Errno::STALE` if it is not what was decided about.
fn before(path: &std::path::Path, expected: Option<&Stat>, index: usize, old: Tree<'_>, dir: &Dir) -> Access<State> {
    let Some(expected) = expected else { return Ok(State::Absent) };
    if file_type(expected) != FileType::RegularFile {
        return State::of(old, path);
    }
    let file = old.file(path)?;
    if !replace::same(&rustix::fs::fstat(&file)?, expected) {
        return Err(Errno::STALE);
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let to = beneath(dir, staged(index), flags, Mode::from_raw_mode(PRIVATE))?;
    content(&file, &to).map_err(|(_, e)| e)?;
    drop(to);
    let copy = dir.beneath(staged(index).as_ref(), OFlags::RDONLY, Mode::empty())?;
    State::file(&std::fs::File::from(copy), expected)
}

fn note(step: &Step<'_>, applied: &mut Applied) {
    let list = match &step.fate {
        Fate::Merge { conflicts: 0, .. } => &mut applied.merged,
        Fate::Merge { .. } => &mut applied.marked,
        _ => &mut applied.done,
    };
    list.push(step.change.path.clone());
}

pub(super) fn reason(errno: Errno) -> String {
    match errno {
        Errno::STALE => "it changed at this moment".to_owned(),
        Errno::NOSPC | Errno::DQUOT => "there is no space for it".to_owned(),
        e => words(e),
    }
}
