//! Bringing an agent's changes into the operator's tree: all of them are checked before the first is made, and the report says of each
//! what became of it.
//!
//! Invariants: no access leaves the tree or follows a symlink in it; no file is setuid, setgid, sticky, or writable for others than
//! before; a file of the operator's that changed since the agent's view was made is not overwritten unless that is forced; git's own
//! files and symlinks that lead out of the tree come only when asked for.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::compare::{same_content, same_mode};
use super::copy::content;
use super::flags::is_git;
use super::tree::{Access, Tree, changed, file_type, words};
use super::{Change, Changes, Kind, Node, Skipped};
use crate::error::Result;
use crate::files::{Dir, PRIVATE, PRIVATE_DIR, beneath, chmod_by_descriptor, failed, random_hex};

/// How the directory is called in which new files wait beside their destination.
const STAGING: &str = ".bottle-apply-";

/// What the operator asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choices {
    /// Overwrite what changed since, and take symlinks that lead out of the tree.
    pub force: bool,
    /// Take changes of git's own files, which can make git run programs.
    pub git: bool,
}

/// What became of the changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Made, in this order.
    pub done: Vec<PathBuf>,
    /// The tree was so already.
    pub already: u64,
    /// Not made, because nobody asked for that.
    pub left_out: Vec<Skipped>,
    /// If there is any, nothing at all was made.
    pub conflicts: Vec<Skipped>,
    /// Where the system refused half-way; what is in `done` stays.
    pub stopped: Option<Skipped>,
}

/// What the tree says about a change.
enum Check {
    Fine,
    Already,
    Conflict(&'static str),
    /// A conflict that force does not help against.
    Impossible(String),
}

/// Makes `changes`, whose content lies in `written`, in `target`. What changed in `target` at or after `since` (by
/// [`crate::clock::file_nanos`]) is in conflict.
pub fn apply(changes: &Changes, written: &Dir, target: &Dir, since: u64, choices: Choices) -> Result<Applied> {
    let mut applied = Applied { left_out: changes.skipped.clone(), ..Applied::default() };
    let mut wanted = Vec::new();
    for change in &changes.list {
        match unwanted(change, choices) {
            None => wanted.push(change),
            Some(why) => applied.left_out.push(Skipped { path: change.path.clone(), why: why.to_owned() }),
        }
    }
    let set = Set::of(&wanted);
    let (new, old) = (Tree::agents(written), Tree::operators(target));
    let mut ready = Vec::new();
    for change in wanted {
        let conflict = match set.check(change, new, old, since) {
            Check::Fine => {
                ready.push(change);
                continue;
            }
            Check::Already => {
                applied.already += 1;
                continue;
            }
            Check::Conflict(_) if choices.force => {
                ready.push(change);
                continue;
            }
            Check::Conflict(why) => why.to_owned(),
            Check::Impossible(why) => why,
        };
        applied.conflicts.push(Skipped { path: change.path.clone(), why: conflict });
    }
    if ready.is_empty() || !applied.conflicts.is_empty() {
        return Ok(applied);
    }
    let hex = random_hex().map_err(|e| failed("prepare changes for", target.path(), "getrandom", e))?;
    let name = format!("{STAGING}{hex}");
    let staging = target.make(name.as_ref()).map_err(|e| failed("prepare changes in", target.path(), "mkdirat", e))?;
    let made = stage(&ready, new, old, &staging).map(|()| perform(&ready, old, &staging, choices, &mut applied));
    let swept = target.remove_tree(&name);
    made?;
    swept?;
    Ok(applied)
}

fn unwanted(change: &Change, choices: Choices) -> Option<&'static str> {
    if is_git(&change.path) && !choices.git {
        return Some("it belongs to git, which may run what stands there; `--git` takes it");
    }
    match &change.node {
        Node::Symlink { target } if change.kind != Kind::Deleted && !choices.force && leaves(&change.path, target) => {
            Some("the symlink leads out of the tree; `--force` takes it")
        }
        _ => None,
    }
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

/// The paths that the changes themselves prepare for each other.
struct Set<'c> {
    /// Will be a directory.
    dirs: HashSet<&'c Path>,
    /// Will be a directory, and is something else now.
    replaced: HashSet<&'c Path>,
    /// Will be gone.
    deleted: HashSet<&'c Path>,
}

impl<'c> Set<'c> {
    fn of(changes: &[&'c Change]) -> Self {
        let paths = |fits: &dyn Fn(&Change) -> bool| changes.iter().filter(|c| fits(c)).map(|c| c.path.as_path()).collect();
        Self {
            dirs: paths(&|c| c.node == Node::Dir && c.kind != Kind::Deleted),
            replaced: paths(&|c| c.node == Node::Dir && c.kind == Kind::TypeChanged),
            deleted: paths(&|c| c.kind == Kind::Deleted),
        }
    }

    fn check(&self, change: &Change, new: Tree<'_>, old: Tree<'_>, since: u64) -> Check {
        self.judge(change, new, old, since).unwrap_or_else(|e| Check::Impossible(words(e)))
    }

    fn judge(&self, change: &Change, new: Tree<'_>, old: Tree<'_>, since: u64) -> Access<Check> {
        let path = change.path.as_path();
        // Below what will be replaced by a directory there is nothing yet; asked for there, a symlink would be an error.
        let is_dir = |above: &Path| matches!(old.stat(above), Ok(Some(stat)) if file_type(&stat) == FileType::Directory);
        let fresh = path.ancestors().skip(1).any(|above| self.replaced.contains(above) && !is_dir(above));
        let there = if fresh { None } else { old.stat(path)? };
        if change.kind == Kind::Deleted {
            let Some(there) = there else { return Ok(Check::Already) };
            return self.deletable(change, &there, old, since);
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        if !fresh && !self.dirs.contains(parent) && old.dir(parent).is_err() {
            return Ok(Check::Impossible("its directory is gone, or something else by now".to_owned()));
        }
        let Some(there) = there else {
            return Ok(if change.kind == Kind::Added { Check::Fine } else { Check::Conflict("it was removed since") });
        };
        if let Some(stat) = new.stat(path)? {
            let kept = same_mode(&stat, &there) || there.st_mode & 0o777 == mode(change, Some(&there));
            if same_content(old, &there, new, &stat, path)? && (kept || (change.kind == Kind::Added && change.node == Node::Dir)) {
                return Ok(Check::Already);
            }
        }
        let is_dir = file_type(&there) == FileType::Directory;
        Ok(match (change.kind, &change.node) {
            (Kind::Added, _) if is_dir => Check::Impossible("a directory of this name appeared since".to_owned()),
            (Kind::Added, Node::Dir) => Check::Impossible("something of this name appeared since".to_owned()),
            (Kind::Added, _) => Check::Conflict("it appeared since"),
            (Kind::TypeChanged, _) if is_dir => self.emptied(path, old)?,
            (Kind::Modified, Node::Dir) if is_dir => Check::Fine,
            (Kind::Modified, Node::Dir) => Check::Impossible("it is no directory any more".to_owned()),
            (Kind::Modified, _) if is_dir => Check::Impossible("it became a directory since".to_owned()),
            _ if changed(&there) >= since => Check::Conflict("it changed since"),
            _ => Check::Fine,
        })
    }

    fn deletable(&self, change: &Change, there: &Stat, old: Tree<'_>, since: u64) -> Access<Check> {
        let is_dir = file_type(there) == FileType::Directory;
        Ok(match (change.node == Node::Dir, is_dir) {
            (true, true) => self.emptied(&change.path, old)?,
            (false, true) => Check::Impossible("it became a directory since".to_owned()),
            _ if changed(there) >= since => Check::Conflict("it changed since"),
            _ => Check::Fine,
        })
    }

    /// A directory goes only with all that is in it, and each of that must be a deletion of its own.
    fn emptied(&self, path: &Path, old: Tree<'_>) -> Access<Check> {
        let stranger = old.list(path)?.into_keys().map(|name| path.join(name)).find(|path| !self.deleted.contains(path.as_path()));
        Ok(match stranger {
            None => Check::Fine,
            Some(_) => Check::Impossible("there are files in it that the agent did not delete".to_owned()),
        })
    }
}

/// The mode that a path gets: the agent's, but others may write only where they could before.
fn mode(change: &Change, there: Option<&Stat>) -> u32 {
    let others = there.map_or(0, |stat| stat.st_mode & change.mode & 0o022);
    let owner = if change.node == Node::Dir { 0o700 } else { 0o600 };
    change.mode & 0o755 | owner | others
}

/// Puts all content beside its destination, so that what can run out of space does so before the tree is touched.
fn stage(changes: &[&Change], new: Tree<'_>, old: Tree<'_>, staging: &Dir) -> Result<()> {
    for (index, change) in changes.iter().enumerate().filter(|(_, change)| change.kind != Kind::Deleted) {
        let name = index.to_string();
        let staged = match &change.node {
            Node::File { .. } => stage_file(change, new, old, staging, &name),
            Node::Symlink { target } => rustix::fs::symlinkat(target.as_os_str(), staging, &name).map_err(|e| ("symlinkat", e)),
            Node::Dir | Node::Other => Ok(()),
        };
        staged.map_err(|(call, e)| failed("prepare changes in", staging.path(), call, e))?;
    }
    Ok(())
}

fn stage_file(change: &Change, new: Tree<'_>, old: Tree<'_>, staging: &Dir, name: &str) -> Result<(), (&'static str, Errno)> {
    let from = new.file(&change.path).map_err(|e| ("openat2", e))?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let to = staging.beneath(name.as_ref(), flags, Mode::from_raw_mode(PRIVATE)).map_err(|e| ("openat2", e))?;
    content(&from, &to)?;
    let there = old.stat(&change.path).ok().flatten();
    rustix::fs::fchmod(&to, Mode::from_raw_mode(mode(change, there.as_ref()))).map_err(|e| ("fchmod", e))
}

/// Makes the changes. Order matters: deletions first and from the deepest, then the rest from the root down, and modes of directories last.
fn perform(changes: &[&Change], old: Tree<'_>, staging: &Dir, choices: Choices, applied: &mut Applied) {
    let deletions = changes.iter().enumerate().rev().filter(|(_, change)| change.kind == Kind::Deleted);
    let others = changes.iter().enumerate().filter(|(_, change)| change.kind != Kind::Deleted);
    for (index, change) in deletions.chain(others) {
        match put(change, &index.to_string(), old, staging, choices) {
            Ok(()) => applied.done.push(change.path.clone()),
            Err(e) => {
                applied.stopped = Some(Skipped { path: change.path.clone(), why: words(e) });
                return;
            }
        }
    }
    for change in changes.iter().rev().filter(|change| change.node == Node::Dir && change.kind != Kind::Deleted) {
        if let Err(e) = settle_dir(change, old) {
            applied.stopped.get_or_insert(Skipped { path: change.path.clone(), why: words(e) });
        }
    }
}

fn put(change: &Change, staged: &str, old: Tree<'_>, staging: &Dir, choices: Choices) -> Access<()> {
    let (parent, name) = old.parent(&change.path)?;
    let is_dir = |parent, name: &OsStr| {
        rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| file_type(&stat) == FileType::Directory)
    };
    if matches!(change.kind, Kind::Deleted | Kind::TypeChanged) {
        let flags = if is_dir(&parent, &name) { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(&parent, &name, flags) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
    }
    match (change.kind, &change.node) {
        (Kind::Deleted, _) | (Kind::Modified, Node::Dir) => Ok(()),
        (_, Node::Dir) => match rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(PRIVATE_DIR)) {
            Err(Errno::EXIST) if is_dir(&parent, &name) => Ok(()),
            answer => answer,
        },
        (_, Node::Other) => Err(Errno::INVAL),
        (Kind::Modified, _) => rustix::fs::renameat(staging, staged, &parent, &name),
        (Kind::Added | Kind::TypeChanged, _) if choices.force => rustix::fs::renameat(staging, staged, &parent, &name),
        (Kind::Added | Kind::TypeChanged, _) => match rustix::fs::renameat_with(staging, staged, &parent, &name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL) => rustix::fs::linkat(staging, staged, &parent, &name, AtFlags::empty()),
            answer => answer,
        },
    }
}

fn settle_dir(change: &Change, old: Tree<'_>) -> Access<()> {
    let (parent, name) = old.parent(&change.path)?;
    let held = beneath(&parent, &name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let there = rustix::fs::fstat(&held)?;
    chmod_by_descriptor(&held, mode(change, Some(&there)))
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
