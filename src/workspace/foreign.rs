//! What never comes with the files: repositories' own directories, in which a tool of the operator's finds programs to run. Git, Mercurial,
//! Jujutsu and Subversion; also a directory that merely looks like one, for git takes any such directory for a repository.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::tree::Tree;
use super::{Change, Kind};

/// Names of repositories' own directories, in lower case: file systems that ignore case take `.GIT` for the same.
const NAMES: [(&str, &str); 4] = [(".git", "git"), (".hg", "Mercurial"), (".jj", "Jujutsu"), (".svn", "Subversion")];

/// The tool whose own directory the path is in, or is.
pub(super) fn owner(path: &Path) -> Option<&'static str> {
    path.components().find_map(|part| {
        let name = NAMES.iter().find(|(name, _)| part.as_os_str().eq_ignore_ascii_case(name));
        name.map(|(_, tool)| *tool)
    })
}

/// Where a path is within git's own directory: `hooks/pre-commit` of `.git/hooks/pre-commit`.
pub(super) fn within_git(path: &Path) -> Option<&Path> {
    let mut parts = path.components();
    parts.by_ref().find(|part| part.as_os_str().eq_ignore_ascii_case(".git"))?;
    Some(parts.as_path())
}

/// The directories of a set of changes that would be repositories once it is applied.
#[derive(Debug, Default)]
pub(super) struct Foreign(BTreeSet<PathBuf>);

impl Foreign {
    /// Looks at the changes and at the tree that they go into.
    pub(super) fn of(changes: &[Change], tree: Tree<'_>) -> Self {
        let named = |change: &&Change| change.path.file_name().is_some_and(is_mark);
        let added: BTreeSet<&Path> = changes.iter().filter(|c| c.kind != Kind::Deleted).map(|c| c.path.as_path()).collect();
        let deleted: BTreeSet<&Path> = changes.iter().filter(|c| c.kind == Kind::Deleted).map(|c| c.path.as_path()).collect();
        let candidates: BTreeSet<&Path> = changes.iter().filter(named).filter_map(|change| change.path.parent()).collect();
        let is_repository = |directory: &&Path| {
            let has = |name: &str| {
                // Any case, as a file system may ignore it.
                let of_set = |set: &BTreeSet<&Path>| {
                    set.range(*directory..).take_while(|path| path.starts_with(directory)).any(|path| {
                        path.parent() == Some(*directory) && path.file_name().is_some_and(|other| other.eq_ignore_ascii_case(name))
                    })
                };
                let path = directory.join(name);
                of_set(&added) || (!deleted.contains(path.as_path()) && matches!(tree.stat(&path), Ok(Some(_))))
            };
            // setup.c of git: is_git_directory().
            has("HEAD") && (has("commondir") || has("objects") && has("refs"))
        };
        Self(candidates.into_iter().filter(is_repository).filter(|path| owner(path).is_none()).map(Path::to_owned).collect())
    }

    /// Why a path stays out, if it does.
    pub(super) fn why(&self, path: &Path) -> Option<String> {
        if let Some(tool) = owner(path) {
            return Some(match tool {
                "git" => "it belongs to git, which may run what stands there".to_owned(),
                tool => format!("it belongs to {tool}, which may run what stands there"),
            });
        }
        let above = path.ancestors().find(|above| self.0.contains(*above))?;
        let place = if above.as_os_str().is_empty() { "the tree".to_owned() } else { format!("`{}`", shown(above)) };
        Some(format!("{place} would be a git repository, in which git may run what its configuration names"))
    }
}

fn is_mark(name: &std::ffi::OsStr) -> bool {
    ["HEAD", "objects", "refs", "commondir", "config"].iter().any(|mark| name.eq_ignore_ascii_case(mark))
}

fn shown(path: &Path) -> bottle_contract::Untrusted<'_> {
    bottle_contract::Untrusted::new(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repositorys_own_directory_is_found_anywhere_in_any_case() {
        for (path, tool) in [
            (".git", Some("git")),
            ("a/.git/hooks/y", Some("git")),
            ("a/.Git", Some("git")),
            (".hg/hgrc", Some("Mercurial")),
            ("x/.jj/repo", Some("Jujutsu")),
            (".gitignore", None),
            ("git/x", None),
            ("a.git/b", None),
        ] {
            assert_eq!(owner(Path::new(path)), tool, "{path}");
        }
        assert_eq!(within_git(Path::new("a/.git/hooks/x")), Some(Path::new("hooks/x")));
    }
}
