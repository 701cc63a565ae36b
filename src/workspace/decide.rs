//! What becomes of each change, from what the tree has now, what it had at the start, and what the operator chose. Nothing is changed here.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Stat};

use super::base::Base;
use super::compare::{same_content, same_mode};
use super::foreign::Foreign;
use super::merge::{self, MAX_TEXT_BYTES, Merged, Resolution};
use super::tree::{Access, Tree, file_type, words};
use super::{Change, Kind, Node};

/// What the operator asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// What becomes of conflicts.
    pub resolution: Resolution,
    /// Take symlinks that lead out of the tree.
    pub links: bool,
    /// Only these paths, and what is below them; empty: all.
    pub paths: Vec<PathBuf>,
    /// Change nothing.
    pub dry_run: bool,
}

impl Choices {
    fn wants(&self, path: &Path) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|wanted| path.starts_with(wanted))
    }
}

/// What becomes of one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The agent's version is put in place.
    Take,
    /// This text is: a merge of both versions.
    Merge { text: Vec<u8>, conflicts: usize },
    /// The tree has it already.
    Already,
    /// The operator's version stays, as was chosen.
    Ours,
    /// It stays out, for this reason.
    Out(String),
}

/// A change, its fate, and what it was decided about: whoever makes it looks whether that is still there.
pub(super) struct Decided<'c> {
    pub(super) change: &'c Change,
    pub(super) fate: Fate,
    pub(super) there: Option<Stat>,
}

/// The fates of all changes that are wanted, in their order.
pub(super) fn decide<'c>(changes: &'c [Change], new: Tree<'_>, old: Tree<'_>, base: Base<'_>, choices: &'c Choices) -> Vec<Decided<'c>> {
    let foreign = Foreign::of(changes, old);
    let mut decider = Decider { new, old, base, choices, foreign, gone: HashSet::new(), dirs: HashSet::new(), missing: HashSet::new() };
    let mut fates: BTreeMap<&Path, Decided<'_>> = BTreeMap::new();
    let wanted = || changes.iter().filter(|change| choices.wants(&change.path));
    // Order matters: a directory goes only if all that is in it does, and comes before what is in it.
    for change in wanted().rev().filter(|change| change.kind == Kind::Deleted) {
        fates.insert(&change.path, decider.decided(change));
    }
    for change in wanted().filter(|change| change.kind != Kind::Deleted) {
        fates.insert(&change.path, decider.decided(change));
    }
    fates.into_values().collect()
}

struct Decider<'c, 'd> {
    new: Tree<'d>,
    old: Tree<'d>,
    base: Base<'d>,
    choices: &'c Choices,
    foreign: Foreign,
    /// Will be gone.
    gone: HashSet<&'c Path>,
    /// Will be a directory.
    dirs: HashSet<&'c Path>,
    /// Should be a directory, and will not.
    missing: HashSet<&'c Path>,
}

impl<'c> Decider<'c, '_> {
    fn decided(&mut self, change: &'c Change) -> Decided<'c> {
        // Looked at before it is judged: a change of it meanwhile is noticed then.
        let there = self.old.stat(&change.path).ok().flatten();
        Decided { change, fate: self.fate(change), there }
    }

    fn fate(&mut self, change: &'c Change) -> Fate {
        let fate = match self.unwanted(change) {
            Some(why) => Fate::Out(why),
            None => self.judge(change).unwrap_or_else(|e| Fate::Out(words(e))),
        };
        let path = change.path.as_path();
        let is_made = matches!(fate, Fate::Take | Fate::Merge { .. } | Fate::Already);
        match (change.kind, &change.node) {
            (Kind::Deleted, _) if is_made => drop(self.gone.insert(path)),
            (Kind::Added | Kind::TypeChanged, Node::Dir) if is_made => drop(self.dirs.insert(path)),
            (Kind::Added | Kind::TypeChanged, Node::Dir) => drop(self.missing.insert(path)),
            _ => {}
        }
        fate
    }

    fn unwanted(&self, change: &Change) -> Option<String> {
        if let Some(why) = self.foreign.why(&change.path) {
            return Some(why);
        }
        match &change.node {
            Node::Symlink { target } if change.kind != Kind::Deleted && !self.choices.links && leaves(&change.path, target) => {
                Some("the symlink leads out of the tree; `--links` takes it".to_owned())
            }
            _ => None,
        }
    }

    fn judge(&self, change: &Change) -> Access<Fate> {
        let path = change.path.as_path();
        if path.ancestors().skip(1).any(|above| self.missing.contains(above)) {
            return Ok(out("its directory stays out"));
        }
        // Below what becomes a directory there is nothing yet; a look there would meet what it is now.
        let is_dir = |above: &Path| matches!(self.old.stat(above), Ok(Some(stat)) if file_type(&stat) == FileType::Directory);
        let is_fresh = path.ancestors().skip(1).any(|above| self.dirs.contains(above) && !is_dir(above));
        let there = if is_fresh { None } else { self.old.stat(path)? };
        if change.kind == Kind::Deleted {
            return there.map_or(Ok(Fate::Already), |there| self.deletion(change, &there));
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        if !is_fresh && !self.dirs.contains(parent) && self.old.dir(parent).is_err() {
            return Ok(out("its directory is gone, or something else by now"));
        }
        let stat = self.new.stat(path)?;
        let Some(there) = there else {
            return Ok(if change.kind == Kind::Added { Fate::Take } else { self.resolved("you removed it") });
        };
        if let Some(stat) = &stat {
            let has_mode = same_mode(stat, &there) || there.st_mode & 0o777 == mode(change, Some(&there));
            if same_content(self.old, &there, self.new, stat, path)?
                && (has_mode || (change.kind == Kind::Added && change.node == Node::Dir))
            {
                return Ok(Fate::Already);
            }
        }
        let is_dir = file_type(&there) == FileType::Directory;
        Ok(match (change.kind, &change.node) {
            (Kind::Added, _) if is_dir => out("a directory of this name appeared since"),
            (Kind::Added, Node::Dir) => out("something of this name appeared since"),
            (Kind::Added, _) => self.merge(path, &there, &[], "you made one, too")?,
            (Kind::TypeChanged, _) if is_dir => self.emptied(path)?,
            (Kind::Modified, Node::Dir) if is_dir => Fate::Take,
            (Kind::Modified, Node::Dir) => out("it is no directory any more"),
            (Kind::Modified, _) if is_dir => out("it became a directory since"),
            _ if self.base.is_unchanged(path, &there, self.old)? => Fate::Take,
            (Kind::Modified, Node::File { .. }) => match self.base.file(path) {
                Some(file) => self.merge(path, &there, &read(file)?, "you changed the same lines")?,
                None => self.resolved("you changed it, too, and what it was before is not known"),
            },
            _ => self.resolved("you changed it, too"),
        })
    }

    fn deletion(&self, change: &Change, there: &Stat) -> Access<Fate> {
        let is_dir = file_type(there) == FileType::Directory;
        Ok(match (change.node == Node::Dir, is_dir) {
            (true, true) => self.emptied(&change.path)?,
            (false, true) => out("it became a directory since"),
            _ if self.base.is_unchanged(&change.path, there, self.old)? => Fate::Take,
            _ => self.resolved("you changed it, and the agent deleted it"),
        })
    }

    /// A directory goes only with all that is in it, and each of that must be a deletion of its own.
    fn emptied(&self, path: &Path) -> Access<Fate> {
        let is_stranger = |name: &std::ffi::OsString| !self.gone.contains(path.join(name).as_path());
        let has_strangers = self.old.list(path)?.keys().any(is_stranger);
        Ok(if has_strangers { out("there are files in it that stay") } else { Fate::Take })
    }

    fn merge(&self, path: &Path, there: &Stat, base: &[u8], why: &str) -> Access<Fate> {
        if file_type(there) != FileType::RegularFile {
            return Ok(self.resolved(why));
        }
        let (ours, theirs) = match (self.old.file(path), self.new.file(path)) {
            (Ok(ours), Ok(theirs)) => (read(ours)?, read(theirs)?),
            _ => return Ok(self.resolved(why)),
        };
        Ok(match merge::merge(base, &ours, &theirs) {
            Ok(merged) => self.merged(&merged, why),
            Err(cause) => self.resolved(&format!("you changed it, too, and {cause}")),
        })
    }

    fn merged(&self, merged: &Merged, why: &str) -> Fate {
        let resolution = if merged.conflicts() == 0 { Resolution::Ours } else { self.choices.resolution };
        let left = if self.choices.resolution == Resolution::Markers { merged.conflicts() } else { 0 };
        match merged.text(resolution) {
            Some(text) => Fate::Merge { text, conflicts: left },
            None => out(why),
        }
    }

    /// A conflict between whole files.
    fn resolved(&self, why: &str) -> Fate {
        match self.choices.resolution {
            Resolution::Ours => Fate::Ours,
            Resolution::Theirs => Fate::Take,
            Resolution::Leave | Resolution::Markers => out(why),
        }
    }
}

fn out(why: &str) -> Fate {
    Fate::Out(why.to_owned())
}

/// A whole file, or a little more than what is merged.
fn read(file: std::fs::File) -> Access<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_TEXT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| rustix::io::Errno::from_io_error(&e).unwrap_or(rustix::io::Errno::IO))?;
    Ok(bytes)
}

/// True for a symlink whose target is absolute or climbs above the tree. Links on its way are judged on their own.
fn leaves(path: &Path, target: &OsStr) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    for part in Path::new(target).components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

/// The mode that a path gets: the agent's, but others may write only where they could before.
pub(super) fn mode(change: &Change, there: Option<&Stat>) -> u32 {
    let others = there.map_or(0, |stat| stat.st_mode & change.mode & 0o022);
    let owner = if change.node == Node::Dir { 0o700 } else { 0o600 };
    change.mode & 0o755 | owner | others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symlink_leaves_the_tree_when_it_climbs_above_the_root() {
        for (path, target) in [("a", "/etc/passwd"), ("a", ".."), ("d/a", "../../x"), ("d/a", "x/../../../y"), ("a", "/")] {
            assert!(leaves(Path::new(path), OsStr::new(target)), "{path} -> {target}");
        }
        for (path, target) in [("a", "b"), ("d/a", "../b"), ("d/e/a", "../../b"), ("a", "./x/../y"), ("a", "")] {
            assert!(!leaves(Path::new(path), OsStr::new(target)), "{path} -> {target}");
        }
    }
}
