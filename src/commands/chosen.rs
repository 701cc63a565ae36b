//! Which bottle and which paths an operator means: `[ID] [PATH…]`, and without an id the latest that worked in this directory.

use std::path::{Component, Path, PathBuf};

use bottle_contract::Untrusted;

use super::named;
use crate::error::{Error, Result};
use crate::files::Dir;
use crate::store::{Bottles, Entry, Id, Layout, Metadata, Status, Workspace};

/// What was chosen.
pub(super) struct Chosen {
    pub(super) entry: Entry,
    /// Relative to the tree; empty: all of it.
    pub(super) paths: Vec<PathBuf>,
}

impl Chosen {
    /// Reads the arguments behind a command: the first may be an id.
    pub(super) fn read(layout: &Layout, arguments: &[String]) -> Result<Self> {
        let directory = std::env::current_dir().unwrap_or_default();
        let (entry, paths) = match arguments.split_first() {
            None => (latest(layout, &directory)?, &arguments[..0]),
            Some((first, rest)) => match first.parse::<Id>().ok().map(|id| Bottles::find(layout, &id)).transpose()?.flatten() {
                Some(entry) => (entry, rest),
                // What is no path here was meant as an id.
                None if rest.is_empty() && first.parse::<Id>().is_ok() && !directory.join(first).exists() => (named(layout, first)?, rest),
                None => (latest(layout, &directory)?, arguments),
            },
        };
        let top = entry.metadata.as_ref().and_then(|metadata| metadata.directory.clone()).unwrap_or_default();
        let paths = paths.iter().map(|path| below(&top, &directory, path)).collect::<Result<_>>()?;
        Ok(Self { entry, paths })
    }

    /// Its id.
    pub(super) fn id(&self) -> &Id {
        &self.entry.id
    }

    /// What is recorded of it.
    pub(super) fn metadata(&self) -> Result<&Metadata> {
        match (&self.entry.metadata, &self.entry.status) {
            (Some(metadata), _) => Ok(metadata),
            (None, Status::Unreadable(why)) => Err(Error::failed(
                format!("bottle `{}` cannot be read", self.id()),
                why.as_str(),
                "the agent's work is in `workspace` below its state directory",
            )),
            (None, _) => Err(Error::failed(format!("bottle `{}` cannot be read", self.id()), "it is just starting", "try again")),
        }
    }

    /// Its workspace; `None` where the agent changed nothing that is apart from the operator's tree.
    pub(super) fn workspace(&self) -> Result<Option<&Workspace>> {
        Ok(self.metadata()?.workspace.as_ref())
    }

    /// Copies of files from the start.
    pub(super) fn base(&self) -> Result<Option<Dir>> {
        let base = self.workspace()?.and_then(|workspace| workspace.base.clone());
        base.map(|path| Dir::open(&path)).transpose()
    }
}

/// The bottle of this directory, or of one above or below it, that was started last.
fn latest(layout: &Layout, directory: &Path) -> Result<Entry> {
    let is_here = |entry: &Entry| {
        let own = entry.metadata.as_ref().and_then(|metadata| metadata.directory.as_deref());
        own.is_some_and(|own| directory.starts_with(own) || own.starts_with(directory))
    };
    let started = |entry: &Entry| entry.metadata.as_ref().map(|metadata| metadata.created.clone());
    Bottles::list(layout)?.into_iter().filter(is_here).max_by_key(started).ok_or_else(|| {
        let shown = Untrusted::new(directory.as_os_str().as_encoded_bytes()).to_string();
        Error::usage(format!("no bottle has worked in {shown}"), "no id was given either", "`bottle list` shows the bottles there are")
    })
}

/// A path of the operator's relative to the tree. Outside of the tree, paths count from its top.
fn below(top: &Path, directory: &Path, path: &str) -> Result<PathBuf> {
    let base = directory.strip_prefix(top).unwrap_or(Path::new(""));
    let path = Path::new(path);
    let mut parts: Vec<_> = if path.is_absolute() { Vec::new() } else { base.components().collect() };
    let path = path.strip_prefix(top).unwrap_or(path);
    for part in path.components() {
        match part {
            Component::Normal(_) => parts.push(part),
            Component::ParentDir if parts.pop().is_some() => {}
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                let shown = Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string();
                return Err(Error::usage(format!("`{shown}` is not in the bottle's directory"), "it leads out of it", "name a path in it"));
            }
        }
    }
    Ok(parts.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_counts_from_where_the_operator_stands() {
        let at = |directory: &str, path: &str| below(Path::new("/w"), Path::new(directory), path).map_err(|_| ());
        for (directory, path, expected) in [
            ("/w", "a/b", "a/b"),
            ("/w/src", "a", "src/a"),
            ("/w/src", "../a", "a"),
            ("/w/src", ".", "src"),
            ("/w/src", "..", ""),
            ("/w/src", "/w/a", "a"),
            ("/elsewhere", "a", "a"),
        ] {
            assert_eq!(at(directory, path), Ok(PathBuf::from(expected)), "{directory} {path}");
        }
        assert!(at("/w", "../a").is_err() && at("/w", "/etc").is_err());
    }
}
