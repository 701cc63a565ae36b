//! What a layer consists of, before it is bytes: sorted, each directory once, no name twice. Pure.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

use crate::path::EntryPath;

/// Where a file's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// They are here.
    Bytes(Vec<u8>),
    /// A regular file of the host with that many bytes.
    File(PathBuf, u64),
}

impl Content {
    /// How many bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }
}

/// One entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its bytes.
        content: Content,
        /// Whether it is a program.
        executable: bool,
        /// Whether it runs as its owner; only if the recipe says so.
        setuid: bool,
    },
    /// A symbolic link and its target.
    Link(Vec<u8>),
}

/// The entries of a layer by the name that the archive gives them, directories with a slash at the end: the order of these bytes is the
/// order of the archive, and it puts a directory before what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<Vec<u8>, (EntryPath, Node)>);

impl Tree {
    /// Adds an entry, and the directories above it that are not there yet.
    pub fn add(&mut self, path: EntryPath, node: Node) -> Result<(), String> {
        for parent in path.parents() {
            if self.0.contains_key(parent.as_bytes()) {
                return Err(format!("`{path}` lies in `{parent}`, which is not a directory"));
            }
            self.0.entry(directory(&parent)).or_insert((parent, Node::Directory));
        }
        let (own, other) = match node {
            Node::Directory => (directory(&path), path.as_bytes().to_vec()),
            _ => (path.as_bytes().to_vec(), directory(&path)),
        };
        if self.0.contains_key(&other) {
            return Err(format!("`{path}` is there twice, as a directory and as something else"));
        }
        match self.0.entry(own) {
            // A directory above an earlier entry, now named itself.
            Entry::Occupied(_) if node == Node::Directory => Ok(()),
            Entry::Occupied(_) => Err(format!("`{path}` is there twice")),
            Entry::Vacant(place) => {
                place.insert((path, node));
                Ok(())
            }
        }
    }

    /// The entries in the order of the archive.
    pub fn entries(&self) -> impl Iterator<Item = &(EntryPath, Node)> {
        self.0.values()
    }

    /// Marks a file that is there as setuid.
    pub fn set_uid(&mut self, path: &EntryPath) -> Result<(), String> {
        match self.0.get_mut(path.as_bytes()) {
            Some((_, Node::File { setuid, .. })) => {
                *setuid = true;
                Ok(())
            }
            _ => Err(format!("`{path}`, which is to be setuid, is not a file of this layer")),
        }
    }
}

fn directory(path: &EntryPath) -> Vec<u8> {
    [path.as_bytes(), b"/"].concat()
}
