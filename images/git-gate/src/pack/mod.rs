//! A reader for hostile packs (gitformat-pack(5)).
//!
//! 1. [`entries`] reads the pack front to back while it arrives. It hashes and visits whole objects at once; of deltas it
//!    only records the place.
//! 2. [`resolve`] applies the deltas. It drops a base with the base's last child.
//!
//! It never allocates what a number in the pack claims, and every sum has a bound. Every object of the pack reaches the
//! [`ObjectVisitor`], which scans it.

pub mod delta;
pub mod entries;
pub mod inflate;
pub mod resolve;
pub mod source;

use std::fmt;

use gix_hash::ObjectId;

pub use source::Source;

/// The kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A commit.
    Commit,
    /// A directory.
    Tree,
    /// A file, or a symbolic link's target.
    Blob,
    /// An annotated tag.
    Tag,
}

impl Kind {
    /// Its name in the header that is hashed with the object.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }
}

/// Bounds of one pack.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Objects.
    pub objects: u64,
    /// All objects together, inflated.
    pub inflated: u64,
    /// A base or a result of a delta.
    pub delta: u64,
    /// Bytes of bases in memory at the same time.
    pub retained: u64,
    /// The length of a chain of deltas.
    pub depth: u32,
}

/// Why a pack is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsound {
    /// It is not a pack, or has an unknown version.
    NotAPack,
    /// It is truncated.
    CutOff,
    /// Bytes follow its end.
    Trailing,
    /// Its checksum is wrong.
    Checksum,
    /// The entry at this offset cannot be read.
    Entry(u64, &'static str),
    /// The delta at this offset cannot be applied.
    Delta(u64, &'static str),
    /// This number of deltas have no base in the pack.
    NoBase(u64),
    /// An object was forged to collide with another id (SHA-1 is broken; git and the gate detect the known attacks).
    Collision,
    /// An object is not what its kind says.
    Object(ObjectId, &'static str),
    /// A bound was exceeded: of what, and the limit.
    TooLarge(&'static str, u64),
    /// It stopped arriving, or the push was given up.
    Abandoned,
}

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPack => f.write_str("it is not a pack of version 2"),
            Self::CutOff => f.write_str("the pack is truncated"),
            Self::Trailing => f.write_str("something follows after the pack's end"),
            Self::Checksum => f.write_str("the pack's checksum is wrong"),
            Self::Entry(at, why) => write!(f, "the entry at byte {at} is corrupt: {why}"),
            Self::Delta(at, why) => write!(f, "the delta at byte {at} is corrupt: {why}"),
            Self::NoBase(count) => write!(f, "{count} deltas have no base in the pack (a thin pack, or a circle)"),
            Self::Collision => f.write_str("an object was forged to collide with another one's SHA-1"),
            Self::Object(id, why) => write!(f, "object {id} is malformed: {why}"),
            Self::TooLarge(what, max) => write!(f, "{what}: more than {max}"),
            Self::Abandoned => f.write_str("the pack did not arrive completely"),
        }
    }
}

/// Visits every object of a pack.
pub trait ObjectVisitor {
    /// An object begins; `size` is its claimed size.
    fn begin(&mut self, kind: Kind, size: u64) -> Result<(), Unsound>;
    /// The object's next bytes.
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), Unsound>;
    /// The object ended; this is its id. `whole` is all of it, if it came in one chunk.
    fn end(&mut self, id: ObjectId, place: Place, whole: Option<&[u8]>) -> Result<(), Unsound>;
}

/// Where in the pack an object comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of its entry.
    pub entry: u32,
    /// Where its compressed bytes begin, unless it is a delta.
    pub data: Option<u64>,
}

/// Hashes an object, and detects collision attacks.
pub(crate) struct Hashing(gix_hash::Hasher);

impl Hashing {
    pub(crate) fn new(kind: Kind, size: u64) -> Self {
        let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
        hasher.update(format!("{} {size}\0", kind.name()).as_bytes());
        Self(hasher)
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Result<ObjectId, Unsound> {
        self.0.try_finalize().map_err(|_| Unsound::Collision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What both files of the first public collision begin with (Stevens and others, 2017).
    const SHATTERED: &str = "255044462d312e330a25e2e3cfd30a0a0a312030206f626a0a3c3c2f57696474682032203020522f4865696768742033203020522f54797065203420\
         3020522f537562747970652035203020522f46696c7465722036203020522f436f6c6f7253706163652037203020522f4c656e677468203820302052\
         2f42697473506572436f6d706f6e656e7420383e3e0a73747265616d0affd8fffe00245348412d3120697320646561642121212121852fec09233975\
         9c39b1a1c63c4c97e1fffe017f46dc93a6b67e013b029aaa1db2560b45ca67d688c7f84b8c4c791fe02b3df614f86db1690901c56b45c1530afedfb7\
         6038e972722fe7ad728f0e4904e046c230570fe9d41398abe12ef5bc942be33542a4802d98b5d70f2a332ec37fac3514e74ddc0f2cc1a874cd0c7830\
         5a21566461309789606bd0bf3f98cda8044629a1";

    #[test]
    fn a_forged_object_is_detected() {
        let bytes: Vec<u8> = (0..SHATTERED.len()).step_by(2).map(|at| u8::from_str_radix(&SHATTERED[at..at + 2], 16).unwrap()).collect();
        let mut hashing = Hashing(gix_hash::hasher(gix_hash::Kind::Sha1));
        hashing.update(&bytes);
        assert_eq!(hashing.finish(), Err(Unsound::Collision));
    }

    #[test]
    fn an_object_has_the_id_that_git_gives_it() {
        let mut hashing = Hashing::new(Kind::Blob, 0);
        hashing.update(b"");
        assert_eq!(hashing.finish().unwrap().to_string(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
    }
}
