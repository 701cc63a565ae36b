//! The way back: what the last apply replaced is put where it was, unless the operator has changed it since.

use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Skipped;
use super::apply::{lock, reason, staging, staging_removed};
use super::copy::content;
use super::journal::{self, Entry, Journal, Phase, State};
use super::replace::{self, New, staged};
use super::tree::{Access, Tree, called_off};
use crate::error::{Error, Result};
use crate::files::{Dir, PRIVATE, failed};

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// As before again.
    pub done: Vec<PathBuf>,
    /// As the operator has it.
    pub out: Vec<Skipped>,
}

/// True if something was applied that was not undone.
pub fn is_applied(bottle: &Dir) -> Result<bool> {
    Ok(journal::all(bottle)?.iter().any(|(_, journal)| journal.phase != Phase::Undone))
}

/// Undoes the last apply that was not undone.
pub fn undo(bottle: &Dir, target: &Dir) -> Result<Undone> {
    let Some((dir, mut journal)) = journal::all(bottle)?.into_iter().find(|(_, journal)| journal.phase != Phase::Undone) else {
        return Err(Error::usage("there is nothing to undo", "nothing was applied", "`bottle apply` applies changes"));
    };
    let _lock = lock(target)?;
    let staging = staging(target)?;
    let undone = restore_all(&journal, &dir, target, &staging);
    let swept = staging_removed(target, &staging);
    let undone = undone?;
    swept?;
    journal.phase = Phase::Undone;
    journal.write(&dir)?;
    Ok(undone)
}

fn restore_all(journal: &Journal, dir: &Dir, target: &Dir, staging: &Dir) -> Result<Undone> {
    let tree = Tree::operators(target);
    let mut undone = Undone::default();
    let mut dirs = Vec::new();
    // What was made is removed from the deepest up, then what was deleted comes back from the root down.
    for (index, entry) in journal.entries.iter().enumerate().rev() {
        called_off().map_err(|e| failed("undo changes in", target.path(), "undo", e))?;
        match restore(entry, index, journal.phase, tree, dir, staging) {
            Ok(false) => {}
            Ok(true) => {
                undone.done.push(entry.path.clone());
                if let State::Dir { mode } = &entry.before {
                    dirs.push((&entry.path, *mode));
                }
            }
            Err(Errno::STALE) => undone.out.push(Skipped { path: entry.path.clone(), why: "you changed it since".to_owned() }),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                undone.out.push(Skipped { path: entry.path.clone(), why: "there are files in it that stay".to_owned() });
            }
            Err(e) => undone.out.push(Skipped { path: entry.path.clone(), why: reason(e) }),
        }
    }
    for (path, mode) in dirs.iter().rev() {
        if let Err(e) = replace::settle(tree, path, *mode) {
            undone.out.push(Skipped { path: (*path).clone(), why: reason(e) });
        }
    }
    Ok(undone)
}

/// True if something had to be done.
fn restore(entry: &Entry, index: usize, phase: Phase, tree: Tree<'_>, dir: &Dir, staging: &Dir) -> Access<bool> {
    let there = tree.stat(&entry.path)?;
    let now = State::of(tree, &entry.path)?;
    let mode_differs = matches!((&now, &entry.before), (State::Dir { mode }, State::Dir { mode: before }) if mode != before);
    if now.is_like(&entry.before) && !mode_differs {
        return Ok(false);
    }
    // A crash may have left a part of a file that is written in place.
    let is_torn = entry.in_place && phase == Phase::Begun && matches!(now, State::File { .. });
    if !now.is_like(&entry.after) && !is_torn {
        return Err(Errno::STALE);
    }
    let new = match &entry.before {
        State::Absent | State::Other => New::Nothing,
        State::Dir { mode } => New::Dir(*mode),
        State::Symlink { .. } => {
            rustix::fs::symlinkat(entry.before.target().unwrap_or_default().as_os_str(), staging, staged(index))?;
            New::Staged
        }
        State::File { mode, uid, gid, .. } => {
            stage(entry, index, *mode, (*uid, *gid), tree, dir, staging)?;
            if entry.in_place { New::Content } else { New::Staged }
        }
    };
    replace::replace(tree, &entry.path, there.as_ref(), new, index, staging)?;
    Ok(true)
}

fn stage(entry: &Entry, index: usize, mode: u32, owner: (u32, u32), tree: Tree<'_>, dir: &Dir, staging: &Dir) -> Access<()> {
    let saved = entry.saved.as_deref().ok_or(Errno::NOENT)?;
    let from = dir.beneath(saved.as_ref(), OFlags::RDONLY, Mode::empty())?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let to = staging.beneath(staged(index).as_ref(), flags, Mode::from_raw_mode(PRIVATE))?;
    content(&std::fs::File::from(from), &to).map_err(|(_, e)| e)?;
    replace::own(&to, Some(owner), &tree.root_stat()?)?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(mode))
}
