//! What the agent did to its working directory, and how it comes back: trees that a hostile program wrote, read without trusting them.
//!
//! Nothing here runs a program, follows a symlink, opens a device or blocks on a fifo. Trees are walked by paths relative to an open root,
//! one directory at a time: no depth and no number of links exhausts descriptors or the stack, and nothing leaves the root.

mod apply;
mod base;
mod changes;
mod compare;
mod copy;
mod decide;
mod flags;
mod foreign;
mod ignored;
mod index;
mod journal;
mod merge;
mod patch;
mod replace;
mod report;
mod restore;
mod tree;

use std::ffi::OsString;
use std::path::PathBuf;

pub use apply::{Applied, Place, apply};
pub use base::{keep_changed, keep_small};
pub use changes::{changes, copied, overlay};
pub use copy::{CopyReport, copy};
pub use decide::Choices;
pub use flags::{When, flag};
pub use ignored::Ignored;
pub use index::tracked;
pub use merge::Resolution;
pub use patch::{Reader, Stat, Trees, patch, quoted, stat};
pub use report::Report;
pub use restore::{Undone, is_applied, undo};

/// The most changes that are looked at: more is an attack on memory or on the reader's patience.
pub const MAX_CHANGES: usize = 1_000_000;

/// What an agent made of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The changes by path, a directory before all that is in it. A directory that is gone stands there with all that was in it.
    pub list: Vec<Change>,
    /// What cannot be taken over.
    pub skipped: Vec<Skipped>,
}

/// One change of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Relative to the tree.
    pub path: PathBuf,
    /// What happened to it.
    pub kind: Kind,
    /// What is there now; for what was deleted, what was there.
    pub node: Node,
    /// Permission bits, without setuid, setgid and sticky.
    pub mode: u32,
}

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It is new.
    Added,
    /// Its content, target or mode is another.
    Modified,
    /// It is gone.
    Deleted,
    /// It was something else, like a file that is a symlink now.
    TypeChanged,
}

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A regular file of this size.
    File {
        /// Its size.
        bytes: u64,
    },
    /// A symlink with this target.
    Symlink {
        /// The target, as written by whoever made it.
        target: OsString,
    },
    /// A directory.
    Dir,
    /// A fifo, a socket or a device, which only ever is deleted.
    Other,
}

/// Something that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Relative to the tree.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}
