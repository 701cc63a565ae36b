//! Which repository the operator works in, read from its files: no git runs, and nothing in the tree is trusted to name a directory that does
//! not name the tree in turn.

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use bottle_contract::Untrusted;

use crate::plan::workspace::Place;

/// No file that names a directory is longer, and no repository's configuration.
const MAX_LINK_BYTES: u64 = 64 << 10;

/// Looks at the host. `is_refused` says which directories are not handed over merely because one lies in them.
pub fn find(directory: &Path, is_refused: &dyn Fn(&Path) -> bool) -> Place {
    let mut place = Place::plain(directory);
    if let Some(top) = top(directory, is_refused) {
        place.top = top;
        look_at_git(&mut place, is_refused);
    }
    if !is_refused(&place.top) {
        place.hidden = super::hidden::find(&place.top);
    }
    place.notes.extend(nested(&place.top));
    place
}

fn look_at_git(place: &mut Place, is_refused: &dyn Fn(&Path) -> bool) {
    let link = place.top.join(".git");
    if fs::symlink_metadata(&link).is_ok_and(|meta| meta.is_file()) {
        match linked(&place.top, &link) {
            Ok(git) if git.starts_with(&place.top) => {}
            Ok(git) if is_refused(&git) => place.notes.push(format!("git does not work here: {} is not shown", shown(&git))),
            Ok(git) => place.git = Some(git),
            Err(note) => place.notes.push(format!("git does not work here: {note}")),
        }
    }
    let config = place.git.clone().unwrap_or_else(|| place.top.join(".git")).join("config");
    if setting(&config, "commit", "gpgsign")
        .is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "no" | "off" | "0" | ""))
    {
        place.notes.push("commits are not signed inside: the key that the repository asks for stays out".to_owned());
    }
}

/// The nearest directory above that holds a `.git`, as git looks for it: on the same file system, and of the same owner.
fn top(directory: &Path, is_refused: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let start = fs::metadata(directory).ok()?;
    let own = rustix::process::geteuid().as_raw();
    for above in directory.ancestors() {
        let meta = fs::metadata(above).ok()?;
        if meta.dev() != start.dev() {
            return None;
        }
        if is_repository(above) {
            let is_ours = above == directory || ((meta.uid() == start.uid() || meta.uid() == own) && !is_refused(above));
            return is_ours.then(|| above.to_owned());
        }
    }
    None
}

fn is_repository(directory: &Path) -> bool {
    let git = directory.join(".git");
    fs::symlink_metadata(&git).is_ok_and(|meta| meta.is_file() || meta.is_dir() && git.join("HEAD").symlink_metadata().is_ok())
}

/// The common git directory that a `.git` file leads to, if it leads back (gitrepository-layout(5)): a worktree's directory names the
/// `.git` file, a submodule's configuration names the tree.
fn linked(top: &Path, link: &Path) -> Result<PathBuf, String> {
    let git = first_line(link, "gitdir: ").map(|to| resolve(top, &to)).ok_or("`.git` is a file without a `gitdir:`")?;
    let git = fs::canonicalize(&git).map_err(|e| format!("`.git` names {}: {e}", shown(&git)))?;
    let is_back = |named: Option<PathBuf>, own: &Path| {
        named.and_then(|path| fs::canonicalize(path).ok()).is_some_and(|path| fs::canonicalize(own).is_ok_and(|own| path == own))
    };
    if let Some(common) = first_line(&git.join("commondir"), "") {
        if !is_back(first_line(&git.join("gitdir"), "").map(|path| resolve(&git, &path)), link) {
            return Err(format!("{} is not the directory of this worktree; `git worktree repair` mends that", shown(&git)));
        }
        let common = fs::canonicalize(resolve(&git, &common)).map_err(|e| format!("{} has no common directory: {e}", shown(&git)))?;
        return if git.starts_with(&common) && is_git(&common) {
            Ok(common)
        } else {
            Err(format!("{} is not the git directory of this worktree", shown(&common)))
        };
    }
    if !is_git(&git) || !is_back(worktree(&git).map(|path| resolve(&git, &path)), top) {
        let hint = format!("`git config core.worktree {}` there says that it is", shown(top));
        return Err(format!("{} does not name this directory as its worktree; {hint}", shown(&git)));
    }
    Ok(git)
}

fn is_git(directory: &Path) -> bool {
    ["objects", "refs"].iter().all(|name| fs::symlink_metadata(directory.join(name)).is_ok_and(|meta| meta.is_dir()))
        && fs::symlink_metadata(directory.join("HEAD")).is_ok()
}

/// `core.worktree` of a configuration.
fn worktree(git: &Path) -> Option<PathBuf> {
    setting(&git.join("config"), "core", "worktree").map(PathBuf::from)
}

/// The last value of a key in a configuration (git-config(1), "Syntax"), as far as paths and switches need it.
fn setting(config: &Path, section: &str, key: &str) -> Option<String> {
    let text = String::from_utf8(read(config)?).ok()?;
    let (mut is_here, mut found) = (false, None);
    for line in text.lines().map(str::trim) {
        if let Some(title) = line.strip_prefix('[') {
            is_here = title.trim_end_matches(']').trim().eq_ignore_ascii_case(section);
        } else if is_here {
            // A key alone is true.
            let (name, value) = line.split_once('=').unwrap_or((line, "true"));
            if name.trim().eq_ignore_ascii_case(key) {
                found = Some(value.trim().trim_matches('"').to_owned());
            }
        }
    }
    found
}

/// What stands behind `prefix` in the first line of a small regular file.
fn first_line(path: &Path, prefix: &str) -> Option<PathBuf> {
    let bytes = read(path)?;
    let line = bytes.strip_prefix(prefix.as_bytes())?.split(|byte| *byte == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    (!line.is_empty() && !line.contains(&0)).then(|| std::ffi::OsString::from_vec(line.to_vec()).into())
}

fn read(path: &Path) -> Option<Vec<u8>> {
    if !fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(MAX_LINK_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn resolve(base: &Path, path: &Path) -> PathBuf {
    let mut resolved = base.to_owned();
    for part in path.components() {
        match part {
            Component::RootDir => resolved = PathBuf::from("/"),
            Component::ParentDir => drop(resolved.pop()),
            Component::Normal(name) => resolved.push(name),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    resolved
}

/// File systems that are mounted in the tree: an overlay of it does not have them.
fn nested(top: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = super::mounts::mount_points(&table).into_iter().filter(|point| point != top && point.starts_with(top));
    points.map(|point| format!("{} is a file system of its own: it is empty in a copy-on-write view", shown(&point))).collect()
}

fn shown(path: &Path) -> Untrusted<'_> {
    Untrusted::new(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(path: PathBuf) -> PathBuf {
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn git_directory(path: PathBuf, config: &str) -> PathBuf {
        directory(path.join("objects"));
        directory(path.join("refs"));
        fs::write(path.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(path.join("config"), config).unwrap();
        path
    }

    fn look(directory: &Path) -> Place {
        find(directory, &|_| false)
    }

    // covers: W11
    #[test]
    fn the_top_of_the_repository_is_found_from_below() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        let top = home.join("web");
        git_directory(top.join(".git"), "");
        let below = directory(top.join("src/bin"));
        let expected = Place { directory: below.clone(), top: top.clone(), git: None, ..Place::default() };
        assert_eq!(look(&below), expected);
        assert_eq!(find(&below, &|path| path == top), Place::plain(&below));
        let plain = directory(home.join("plain"));
        assert_eq!(look(&plain), Place::plain(&plain));
    }

    // covers: V02
    #[test]
    fn a_worktree_and_a_submodule_bring_their_git_directory() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        let common = git_directory(home.join("main/.git"), "[core]\n\tbare = false\n");
        for (name, to_git, to_tree) in [
            ("absolute", common.join("worktrees/absolute").display().to_string(), home.join("absolute/.git").display().to_string()),
            ("relative", "../main/.git/worktrees/relative".to_owned(), "../../../../relative/.git".to_owned()),
        ] {
            let tree = directory(home.join(name));
            let own = directory(common.join("worktrees").join(name));
            fs::write(tree.join(".git"), format!("gitdir: {to_git}\n")).unwrap();
            fs::write(own.join("gitdir"), format!("{to_tree}\n")).unwrap();
            fs::write(own.join("commondir"), "../..\n").unwrap();
            let below = directory(tree.join("deep"));
            let expected = Place { directory: below.clone(), top: tree, git: Some(common.clone()), ..Place::default() };
            assert_eq!(look(&below), expected, "{name}");
        }
        let module = git_directory(common.join("modules/lib"), "[core]\n\tworktree = ../../../lib\n");
        let tree = directory(home.join("main/lib"));
        fs::write(tree.join(".git"), "gitdir: ../.git/modules/lib\n").unwrap();
        assert_eq!(look(&tree), Place { directory: tree.clone(), top: tree, git: Some(module), ..Place::default() });
    }

    #[test]
    fn a_git_directory_that_does_not_know_the_tree_is_not_shown() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        let other = git_directory(home.join("secret/.git"), "");
        let own = directory(other.join("worktrees/x"));
        fs::write(own.join("gitdir"), "/somewhere/else/.git\n").unwrap();
        fs::write(own.join("commondir"), "../..\n").unwrap();
        let tree = directory(home.join("tree"));
        for link in ["gitdir: ../secret/.git", "gitdir: ../secret/.git/worktrees/x", "gitdir: /nowhere", "gitdir: ../secret", "nothing"] {
            fs::write(tree.join(".git"), link).unwrap();
            let place = look(&tree);
            assert_eq!((place.git, place.notes.len()), (None, 1), "{link}");
        }
    }
}
