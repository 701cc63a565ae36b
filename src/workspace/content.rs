//! Looks into the files of a tree, within bounds: for placeholders that a model wrote back, and for the file that holds a value.

use std::io::Read;
use std::path::{Path, PathBuf};

use bottle_scan::{Fingerprints, Scanner, placeholder};
use rustix::fs::FileType;

use super::tree::{Tree, file_type};
use super::{Change, Kind, Node};
use crate::files::Dir;

/// A larger file is not looked into.
const MAX_FILE: u64 = 4 << 20;
/// So much is read of all files together.
const MAX_ALL: u64 = 256 << 20;
/// So many entries of directories are looked at.
const MAX_ENTRIES: usize = 200_000;

/// The files among these changes that hold a placeholder.
pub fn with_placeholders<'c>(new: &Dir, changes: impl IntoIterator<Item = &'c Change>) -> Vec<&'c Path> {
    let tree = Tree::agents(new);
    let mut left = MAX_ALL;
    let is_file = |change: &&Change| change.kind != Kind::Deleted && matches!(change.node, Node::File { bytes } if bytes <= MAX_FILE);
    let holds = |change: &&Change| read(tree, &change.path, &mut left).is_some_and(|text| placeholder::stands_in(&text));
    changes.into_iter().filter(is_file).filter(holds).map(|change| change.path.as_path()).collect()
}

/// What a search for the file of a value came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// This file holds it, relative to the tree.
    Found(PathBuf),
    /// No file does.
    None,
    /// No file that was looked at; there are more.
    Bounded,
}

/// The first file of the tree that holds a value which these rules find and which has this digest (see [`bottle_scan::Known`]).
pub fn file_with(root: &Dir, rule: &str, digest: &str) -> Search {
    let Ok(scanner) = Scanner::new(Fingerprints::default()) else { return Search::Bounded };
    // Who only looks changes no permissions.
    let tree = Tree::operators(root);
    let (mut left, mut entries, mut is_bounded) = (MAX_ALL, MAX_ENTRIES, false);
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        let Ok(list) = tree.list(&directory) else {
            is_bounded = true;
            continue;
        };
        for (name, stat) in list {
            let path = directory.join(&name);
            entries = match entries.checked_sub(1) {
                Some(left) => left,
                None => return Search::Bounded,
            };
            match file_type(&stat) {
                // What git keeps is compressed, and in the files besides.
                FileType::Directory if name != ".git" => open.push(path),
                FileType::RegularFile if stat.st_size as u64 > MAX_FILE => is_bounded = true,
                FileType::RegularFile => match read(tree, &path, &mut left) {
                    None => is_bounded = true,
                    Some(text) if scanner.knows(&text, rule, digest) => return Search::Found(path),
                    Some(_) => {}
                },
                _ => {}
            }
        }
    }
    if is_bounded { Search::Bounded } else { Search::None }
}

/// All of a file, if there is room for it.
fn read(tree: Tree<'_>, path: &Path, left: &mut u64) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    tree.file(path).ok()?.take(MAX_FILE.min(*left) + 1).read_to_end(&mut text).ok()?;
    *left = left.checked_sub(text.len() as u64)?;
    (text.len() as u64 <= MAX_FILE).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Of no vendor's: only its shape is that of a key.
    const TOKEN: &str = "AKIAQ7XW2MVB5ZT4RK6L";

    // covers: V04
    #[test]
    fn the_file_that_holds_a_value_is_found_by_the_values_digest() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/.git")).unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("a/.git/x"), TOKEN).unwrap();
        fs::write(root.path().join("a/b/other"), "key = AKIAQ7XW2MVB5ZT4RK6M").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("a/link")).unwrap();
        let dir = Dir::open(root.path()).unwrap();
        let scanner = Scanner::new(Fingerprints::default()).unwrap();
        let finding = scanner.scan(TOKEN.as_bytes()).unwrap();
        let digest = scanner.tell(TOKEN.as_bytes(), &finding).1.unwrap().digest.unwrap();
        assert_eq!(file_with(&dir, &finding.rule, &digest), Search::None);
        fs::write(root.path().join("a/b/keys.env"), format!("# test\nKEY={TOKEN}\n")).unwrap();
        assert_eq!(file_with(&dir, &finding.rule, &digest), Search::Found("a/b/keys.env".into()));
        assert_eq!(file_with(&dir, "jwt", &digest), Search::None);
        fs::write(root.path().join("big"), vec![b'x'; MAX_FILE as usize + 1]).unwrap();
        fs::remove_file(root.path().join("a/b/keys.env")).unwrap();
        assert_eq!(file_with(&dir, &finding.rule, &digest), Search::Bounded);
    }

    #[test]
    fn a_file_that_a_placeholder_was_written_into_is_named() {
        let root = tempfile::tempdir().unwrap();
        let change = |path: &str, text: &str| {
            fs::write(root.path().join(path), text).unwrap();
            Change { path: path.into(), kind: Kind::Modified, node: Node::File { bytes: text.len() as u64 }, mode: 0o644 }
        };
        let changes = [change("a.env", "KEY=[bottle-redacted***]\n"), change("b.md", "what a bottle has redacted\n")];
        assert_eq!(with_placeholders(&Dir::open(root.path()).unwrap(), &changes), [Path::new("a.env")]);
    }
}
