//! What the agent changed: from an overlay's upper directory, or by comparison of a copy with its source.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bottle_contract::Untrusted;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::compare::{node, same_content, same_mode};
use super::tree::{PERMISSIONS, Tree, changed, file_type, words};
use super::{Change, Changes, Kind, MAX_CHANGES, Node, Skipped};
use crate::error::{Error, Result};
use crate::files::Dir;
use crate::manifest::model::WorkspaceMode;
use crate::store::Workspace;

/// Marks of overlayfs with the mount option `userxattr` (Documentation/filesystems/overlayfs.rst).
const OPAQUE: &str = "user.overlay.opaque";
/// Marks that our mount options rule out, and that would make an upper directory mean something else than it holds.
const FOREIGN: [&str; 2] = ["user.overlay.redirect", "user.overlay.metacopy"];

/// What the agent changed in its workspace. A mounted tree has no other side to compare with: everything is there already.
pub fn changes(workspace: &Workspace) -> Result<Changes> {
    let mut changes = match workspace.mode {
        WorkspaceMode::Overlay => overlay(&Dir::open(&workspace.source)?, &Dir::open(&workspace.dir)?)?,
        WorkspaceMode::Copy => copied(&Dir::open(&workspace.source)?, &Dir::open(&workspace.dir)?, workspace.since, workspace.copied)?,
        WorkspaceMode::Mount | WorkspaceMode::None => Changes::default(),
    };
    // What the agent was not shown it has not deleted, and cannot replace.
    let (hidden, shown): (Vec<_>, Vec<_>) =
        changes.list.into_iter().partition(|change| workspace.hidden.iter().any(|hidden| change.path.starts_with(&hidden.0)));
    let replaced = hidden.into_iter().filter(|change| change.kind != Kind::Deleted);
    changes.list = shown;
    changes.skipped.extend(replaced.map(|change| Skipped { path: change.path, why: "yours has this name, and was hidden".to_owned() }));
    Ok(changes)
}

/// What an overlay's upper directory says about its lower one. Only where the content, the target, the type or the mode differs, so that
/// a file that was merely opened for writing is no change.
pub fn overlay(lower: &Dir, upper: &Dir) -> Result<Changes> {
    Walk { old: Tree::operators(lower), new: Tree::agents(upper), found: Changes::default() }.overlay()
}

/// What an agent changed in a copy. What it did not touch since the copy was complete (`completed`), and what the operator made since
/// the copy was begun (`since`), is no change of the agent's; both by the clock of [`crate::clock::file_nanos`]. In directories below the
/// root that the agent touched, what the operator deleted meanwhile counts as added: rather that than to lose what the agent moved.
pub fn copied(source: &Dir, copy: &Dir, since: u64, completed: u64) -> Result<Changes> {
    Walk { old: Tree::operators(source), new: Tree::agents(copy), found: Changes::default() }.copied(since, completed)
}

struct Walk<'d> {
    old: Tree<'d>,
    new: Tree<'d>,
    found: Changes,
}

/// How a directory of the upper layer stands to the lower one of the same path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    /// The lower directory shows through.
    Merged,
    /// The lower directory is there, and hidden.
    Hidden,
    /// There is no lower directory.
    Nothing,
}

type Entries = BTreeMap<OsString, Stat>;

impl Walk<'_> {
    fn overlay(mut self) -> Result<Changes> {
        let mut ahead = vec![(PathBuf::new(), Below::Merged)];
        while let Some((dir, mut below)) = ahead.pop() {
            let upper = match self.upper_entries(&dir, &mut below)? {
                Some(entries) => entries,
                None => continue,
            };
            let lower = match below {
                Below::Nothing => Entries::new(),
                Below::Merged | Below::Hidden => match self.old.list(&dir) {
                    Ok(entries) => entries,
                    Err(Errno::NOENT | Errno::NOTDIR) => Entries::new(),
                    Err(e) => {
                        self.skip(&dir, e);
                        continue;
                    }
                },
            };
            if below == Below::Hidden {
                for (name, stat) in lower.iter().filter(|(name, _)| !upper.contains_key(*name)) {
                    self.deleted(&dir.join(name), stat)?;
                }
            }
            for (name, stat) in &upper {
                let path = dir.join(name);
                let old = lower.get(name);
                if is_whiteout(stat) {
                    if let Some(old) = old {
                        self.deleted(&path, old)?;
                    }
                    continue;
                }
                self.node(&path, old, stat)?;
                if file_type(stat) == FileType::Directory {
                    let both = old.is_some_and(|old| file_type(old) == FileType::Directory);
                    ahead.push((path, if both { below } else { Below::Nothing }));
                }
            }
        }
        Ok(self.sorted())
    }

    /// The entries of an upper directory; `below` is narrowed if the directory is opaque.
    fn upper_entries(&mut self, dir: &Path, below: &mut Below) -> Result<Option<Entries>> {
        let read = || {
            let fd = self.new.dir(dir)?;
            let mark = |name: &str| {
                let mut value = [0; 16];
                match rustix::fs::fgetxattr(&fd, name, &mut value[..]) {
                    Ok(length) => Ok(Some(value[..length].to_vec())),
                    Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
                    Err(Errno::RANGE) => Ok(Some(Vec::new())),
                    Err(e) => Err(e),
                }
            };
            let mut foreign = None;
            for name in FOREIGN {
                foreign = foreign.or(mark(name)?.map(|_| name));
            }
            Ok((mark(OPAQUE)?, foreign, self.new.list(dir)?))
        };
        match read() {
            Ok((_, Some(name), _)) => Err(misread(dir, &format!("it has the mark {name}"))),
            Ok((Some(value), ..)) if value != b"y" => Err(misread(dir, &format!("its mark {OPAQUE} has an unknown value"))),
            Ok((opaque, _, entries)) => {
                if opaque.is_some() && *below == Below::Merged {
                    *below = Below::Hidden;
                }
                Ok(Some(entries))
            }
            Err(e) => {
                self.skip(dir, e);
                Ok(None)
            }
        }
    }

    fn copied(mut self, since: u64, completed: u64) -> Result<Changes> {
        // A directory that was touched may have been moved here, with all below it unchanged: nothing in it is taken for untouched.
        let mut ahead = vec![(PathBuf::new(), true, false)];
        while let Some((dir, both, moved)) = ahead.pop() {
            let (old, new) = match (if both { self.old.list(&dir) } else { Ok(Entries::new()) }, self.new.list(&dir)) {
                (Ok(old), Ok(new)) => (old, new),
                (Err(e), _) | (_, Err(e)) => {
                    self.skip(&dir, e);
                    continue;
                }
            };
            for (name, stat) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
                let path = dir.join(name);
                // Newer than the copy: it is the operator's. Never copied: the agent never had it.
                if changed(stat) < since && self.was_copied(&path, stat) {
                    self.deleted(&path, stat)?;
                }
            }
            for (name, stat) in &new {
                let path = dir.join(name);
                let old = old.get(name);
                let touched = moved || changed(stat) >= completed;
                if file_type(stat) == FileType::Directory {
                    ahead.push((path.clone(), old.is_some_and(|old| file_type(old) == FileType::Directory), touched));
                }
                if touched {
                    self.node(&path, old, stat)?;
                }
            }
        }
        Ok(self.sorted())
    }

    fn sorted(mut self) -> Changes {
        self.found.list.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        self.found.skipped.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        self.found
    }

    fn was_copied(&self, path: &Path, stat: &Stat) -> bool {
        match file_type(stat) {
            FileType::RegularFile => self.old.file(path).is_ok(),
            FileType::Directory | FileType::Symlink => true,
            _ => false,
        }
    }

    /// Judges one path that the new tree has.
    fn node(&mut self, path: &Path, old: Option<&Stat>, new: &Stat) -> Result<()> {
        if !matches!(file_type(new), FileType::RegularFile | FileType::Directory | FileType::Symlink) {
            let why = format!("it is {}", crate::files::kind(new.st_mode));
            self.found.skipped.push(Skipped { path: path.to_owned(), why });
            return Ok(());
        }
        let kind = match old {
            None => Kind::Added,
            Some(old) if file_type(old) != file_type(new) => {
                if file_type(old) == FileType::Directory {
                    self.deleted_below(path)?;
                }
                Kind::TypeChanged
            }
            Some(old) => match same_content(self.old, old, self.new, new, path) {
                Ok(true) if same_mode(old, new) => return Ok(()),
                Ok(_) => Kind::Modified,
                Err(e) => {
                    self.skip(path, e);
                    return Ok(());
                }
            },
        };
        match node(self.new, path, new) {
            Ok(node) => self.push(Change { path: path.to_owned(), kind, node, mode: new.st_mode & PERMISSIONS }),
            Err(e) => {
                self.skip(path, e);
                Ok(())
            }
        }
    }

    /// A deletion of the old `path` and of all below it, each on its own.
    fn deleted(&mut self, path: &Path, stat: &Stat) -> Result<()> {
        if file_type(stat) == FileType::Directory {
            self.deleted_below(path)?;
        }
        match node(self.old, path, stat) {
            Ok(node) => self.push(Change { path: path.to_owned(), kind: Kind::Deleted, node, mode: stat.st_mode & PERMISSIONS }),
            Err(e) => {
                self.skip(path, e);
                Ok(())
            }
        }
    }

    fn deleted_below(&mut self, path: &Path) -> Result<()> {
        let mut ahead = vec![path.to_owned()];
        while let Some(dir) = ahead.pop() {
            match self.old.list(&dir) {
                Ok(entries) => {
                    for (name, stat) in entries {
                        let path = dir.join(name);
                        if file_type(&stat) == FileType::Directory {
                            ahead.push(path.clone());
                        }
                        match node(self.old, &path, &stat) {
                            Ok(node) => self.push(Change { path, kind: Kind::Deleted, node, mode: stat.st_mode & PERMISSIONS })?,
                            Err(e) => self.skip(&path, e),
                        }
                    }
                }
                Err(e) => self.skip(&dir, e),
            }
        }
        Ok(())
    }

    fn push(&mut self, change: Change) -> Result<()> {
        if self.found.list.len() == MAX_CHANGES {
            let hint = "look at the workspace yourself; its place is in metadata.json";
            return Err(Error::failed("the workspace has too many changes", format!("there are more than {MAX_CHANGES}"), hint));
        }
        debug_assert!(change.node != Node::Other || change.kind == Kind::Deleted);
        self.found.list.push(change);
        Ok(())
    }

    fn skip(&mut self, path: &Path, errno: Errno) {
        self.found.skipped.push(Skipped { path: path.to_owned(), why: words(errno) });
    }
}

/// An overlay's mark for "deleted": a character device with the number 0/0.
fn is_whiteout(stat: &Stat) -> bool {
    file_type(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn misread(dir: &Path, cause: &str) -> Error {
    let what = format!("`{}` in the workspace cannot be read for certain", Untrusted::new(dir.as_os_str().as_encoded_bytes()));
    Error::failed(what, cause, "it was not written by an overlay that bottle mounted")
}
