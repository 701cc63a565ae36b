//! The tree as it was at the start, as far as it is known: what both sides' versions are compared and merged with.
//!
//! A small tree is copied when the agent's view is made. Of a larger one, the files that the agent changed and the operator did not are copied
//! when the agent has ended, so that whatever the operator does from then on can be merged.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::copy::content;
use super::tree::{Access, Tree, called_off, changed, file_type};
use super::{Changes, Kind, Node};
use crate::error::Result;
use crate::files::{Dir, PRIVATE, PRIVATE_DIR, beneath, failed};

/// Bounds of a tree that is copied at the start: some 50 ms.
const MAX_START: Budget = Budget { files: 1000, bytes: 16 << 20 };
/// Bounds of what is copied at the end.
const MAX_END: Budget = Budget { files: 20_000, bytes: 512 << 20 };
/// Larger files are not merged anyway.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// What holds no work of a person's.
const NOT_COPIED: [&str; 5] = [".git", "node_modules", "target", ".venv", "__pycache__"];

#[derive(Clone, Copy)]
struct Budget {
    files: u64,
    bytes: u64,
}

impl Budget {
    /// False once it is used up.
    fn take(&mut self, bytes: u64) -> bool {
        if self.files == 0 || self.bytes < bytes {
            return false;
        }
        self.files -= 1;
        self.bytes -= bytes;
        true
    }
}

/// Copies a tree's files to `base` as far as they are few; otherwise nothing is left there.
pub fn keep_small(source: &Dir, base: &Dir) -> Result<()> {
    let explain = |e: Errno| failed("copy to", base.path(), "copy", e);
    let (from, mut budget) = (Tree::operators(source), MAX_START);
    let mut files = Vec::new();
    let mut ahead = vec![std::path::PathBuf::new()];
    // Looked at first, so that a large tree costs no copies.
    while let Some(directory) = ahead.pop() {
        for (name, stat) in from.list(&directory).unwrap_or_default() {
            let path = directory.join(&name);
            match file_type(&stat) {
                FileType::Directory if NOT_COPIED.iter().any(|skipped| name == *skipped) => {}
                FileType::Directory if ahead.len() as u64 > MAX_START.files => return Ok(()),
                FileType::Directory => ahead.push(path),
                FileType::RegularFile if stat.st_size as u64 > MAX_FILE_BYTES => {}
                FileType::RegularFile if budget.take(stat.st_size as u64) => files.push(path),
                FileType::RegularFile => return Ok(()),
                _ => {}
            }
        }
    }
    for path in files {
        called_off().map_err(explain)?;
        // What cannot be read has no base.
        let Ok(file) = from.file(&path) else { continue };
        keep(&file, base, &path).map_err(explain)?;
    }
    Ok(())
}

/// Copies what the agent changed and the operator did not since `since`, unless it is there already.
pub fn keep_changed(changes: &Changes, source: &Dir, base: &Dir, since: u64) -> Result<()> {
    let explain = |e: Errno| failed("copy to", base.path(), "copy", e);
    let (from, there, mut budget) = (Tree::operators(source), Tree::operators(base), MAX_END);
    for change in changes.list.iter().filter(|change| change.kind != Kind::Added) {
        called_off().map_err(explain)?;
        if change.kind == Kind::Deleted && !matches!(change.node, Node::File { .. }) {
            continue;
        }
        let Ok(Some(stat)) = from.stat(&change.path) else { continue };
        let fits = file_type(&stat) == FileType::RegularFile && stat.st_size as u64 <= MAX_FILE_BYTES && changed(&stat) < since;
        if !fits || there.stat(&change.path).map_err(explain)?.is_some() {
            continue;
        }
        if !budget.take(stat.st_size as u64) {
            return Ok(());
        }
        let Ok(file) = from.file(&change.path) else { continue };
        keep(&file, base, &change.path).map_err(explain)?;
    }
    Ok(())
}

fn keep(file: &File, base: &Dir, path: &Path) -> Access<()> {
    let tree = Tree::operators(base);
    for above in path.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev().filter(|above| !above.as_os_str().is_empty()) {
        let (parent, name) = tree.parent(above)?;
        match rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(PRIVATE_DIR)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
    }
    let (parent, name) = tree.parent(path)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let to = beneath(&parent, &name, flags, Mode::from_raw_mode(PRIVATE))?;
    content(file, &to).map(drop).map_err(|(_, e)| e)
}

/// What is known of the tree at the start.
#[derive(Clone, Copy)]
pub(super) struct Base<'d> {
    tree: Option<Tree<'d>>,
    since: u64,
}

impl<'d> Base<'d> {
    pub(super) fn new(dir: Option<&'d Dir>, since: u64) -> Self {
        Self { tree: dir.map(Tree::operators), since }
    }

    /// The file as it was.
    pub(super) fn file(&self, path: &Path) -> Option<File> {
        self.tree?.file(path).ok()
    }

    /// True if the operator's `there` is what it was at the start: by content, where that is known; else by the time of its last change,
    /// and by that of the directories above it, for a rename of one of them brings another file to this path.
    pub(super) fn is_unchanged(&self, path: &Path, there: &Stat, operators: Tree<'_>) -> Access<bool> {
        if file_type(there) == FileType::RegularFile
            && let Some(tree) = self.tree
            && let Some(stat) = tree.stat(path)?
        {
            return super::compare::same_content(tree, &stat, operators, there, path);
        }
        if changed(there) >= self.since {
            return Ok(false);
        }
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            // A rename changes the inode of a directory and not what is in it.
            let is_moved = operators.stat(above)?.is_none_or(|stat| changed(&stat) >= self.since && modified(&stat) < self.since);
            if is_moved {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn modified(stat: &Stat) -> u64 {
    (stat.st_mtime as u64).saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec)
}
