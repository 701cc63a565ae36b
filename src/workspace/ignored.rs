//! What git ignores in the operator's tree. The agent's own patterns do not count: it could hide with them what it made.

use std::collections::HashMap;
use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::tree::Tree;
use crate::files::Dir;

/// Longer files of patterns are cut there.
const MAX_PATTERN_BYTES: u64 = 1 << 20;

/// The patterns of a tree, read when they are needed.
pub struct Ignored<'d> {
    tree: Tree<'d>,
    tracked: HashSet<PathBuf>,
    own: Gitignore,
    by_directory: HashMap<PathBuf, Gitignore>,
}

impl<'d> Ignored<'d> {
    /// For this tree.
    pub fn of(source: &'d Dir) -> Self {
        let tree = Tree::operators(source);
        let own = patterns(tree, Path::new(".git/info/exclude"));
        Self { tree, tracked: super::index::tracked(source.path()), own, by_directory: HashMap::new() }
    }

    /// True for what git ignores and does not track.
    pub fn has(&mut self, path: &Path, is_dir: bool) -> bool {
        if self.tracked.contains(path) {
            return false;
        }
        let above: Vec<&Path> = path.ancestors().filter(|above| !above.as_os_str().is_empty()).collect();
        // What lies in an ignored directory is ignored, whatever other patterns say (gitignore(5)).
        above.into_iter().rev().any(|part| self.matches(part, is_dir || part != path))
    }

    fn matches(&mut self, path: &Path, is_dir: bool) -> bool {
        for directory in path.ancestors().skip(1) {
            let tree = self.tree;
            let patterns = self.by_directory.entry(directory.to_owned()).or_insert_with(|| patterns(tree, &directory.join(".gitignore")));
            let below = path.strip_prefix(directory).unwrap_or(path);
            match patterns.matched(below, is_dir) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        self.own.matched(path, is_dir).is_ignore()
    }
}

fn patterns(tree: Tree<'_>, file: &Path) -> Gitignore {
    let mut text = String::new();
    let read = tree.file(file).map(|file| file.take(MAX_PATTERN_BYTES).read_to_string(&mut text));
    let mut builder = GitignoreBuilder::new("");
    if matches!(read, Ok(Ok(_))) {
        // A line that is no pattern is skipped, as git does.
        text.lines().for_each(|line| drop(builder.add_line(None, line)));
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: W05
    #[test]
    fn what_git_ignores_is_known_by_the_operators_patterns() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = home.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(".gitignore", "target/\n*.log\n!keep.log\n/only-here\n");
        write("sub/.gitignore", "*.tmp\n");
        write(".git/info/exclude", "private\n");
        let source = Dir::open(home.path()).unwrap();
        let mut ignored = Ignored::of(&source);
        for (path, expected) in [
            ("target/debug/x", true),
            ("deep/target/x", true),
            ("a.log", true),
            ("sub/a.log", true),
            ("keep.log", false),
            ("target/keep.log", true),
            ("only-here", true),
            ("sub/only-here", false),
            ("sub/x.tmp", true),
            ("x.tmp", false),
            ("private", true),
            ("src/main.rs", false),
        ] {
            assert_eq!(ignored.has(Path::new(path), false), expected, "{path}");
        }
    }
}
