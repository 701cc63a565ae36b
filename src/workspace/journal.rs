//! What an apply replaced: written down, and copied, before the first file of the operator's is touched, so that it can be undone at any time.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::tree::{Access, PERMISSIONS, Tree, called_off, file_type};
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::files::{Dir, PRIVATE, entries};

/// The directory of all journals, in the bottle's own.
const UNDO: &str = "undo";
const FILE: &str = "journal.json";
/// A million changes take less.
const MAX_JOURNAL_BYTES: u64 = 1 << 30;
const CHUNK: usize = 64 * 1024;

/// What a path is or was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum State {
    Absent,
    Dir { mode: u32 },
    File { sha256: String, mode: u32, uid: u32, gid: u32 },
    Symlink { target: Vec<u8> },
    Other,
}

impl State {
    /// Looks at a path of a tree.
    pub(super) fn of(tree: Tree<'_>, path: &Path) -> Access<Self> {
        let Some(stat) = tree.stat(path)? else { return Ok(Self::Absent) };
        Ok(match file_type(&stat) {
            FileType::Directory => Self::Dir { mode: stat.st_mode & PERMISSIONS },
            FileType::RegularFile => Self::file(&tree.file(path)?, &stat)?,
            FileType::Symlink => Self::Symlink { target: tree.target(path)?.into_vec() },
            _ => Self::Other,
        })
    }

    pub(super) fn file(file: &std::fs::File, stat: &Stat) -> Access<Self> {
        let sha256 = digest(file)?;
        Ok(Self::File { sha256, mode: stat.st_mode & PERMISSIONS, uid: stat.st_uid, gid: stat.st_gid })
    }

    /// The same, but for the owner: what a restored file gets cannot always be what it had.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { sha256, mode, .. }, Self::File { sha256: digest, mode: bits, .. }) => (sha256, mode) == (digest, bits),
            // Others may have made files in it, and its mode is no content.
            (Self::Dir { .. }, Self::Dir { .. }) => true,
            (one, other) => one == other,
        }
    }

    pub(super) fn target(&self) -> Option<OsString> {
        match self {
            Self::Symlink { target } => Some(std::ffi::OsStr::from_bytes(target).to_owned()),
            _ => None,
        }
    }
}

/// One path of an apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    #[serde(with = "bottle_init::host_path")]
    pub(super) path: PathBuf,
    pub(super) before: State,
    pub(super) after: State,
    /// The file in the journal's directory that has the content from before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) saved: Option<String>,
    /// It has further names, so that its content is written in place: a crash can leave a part of it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(super) in_place: bool,
}

/// How far an apply came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// It was begun, and perhaps not finished.
    Begun,
    Finished,
    Undone,
}

/// One apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Journal {
    pub(super) phase: Phase,
    pub(super) entries: Vec<Entry>,
}

impl Journal {
    /// Written before anything is changed, and at the end.
    pub(super) fn write(&self, dir: &Dir) -> Result<()> {
        let text = serde_json::to_vec(self)
            .map_err(|e| Error::failed("cannot write down what is applied", e, "this is a bug in bottle: please report it"))?;
        dir.replace(FILE, &text, PRIVATE)
    }

    pub(super) fn read(dir: &Dir) -> Result<Self> {
        let text = dir.read_bounded(FILE, MAX_JOURNAL_BYTES)?;
        serde_json::from_slice(&text).map_err(|e| {
            Error::failed("what was applied is not known any more", e, format!("{} holds what was overwritten", dir.path().display()))
        })
    }
}

/// A directory for the next apply's journal.
pub(super) fn next(bottle: &Dir) -> Result<Dir> {
    let undo = bottle.subdir(UNDO)?;
    let last = entries(&undo)?.iter().filter_map(|name| name.to_str()?.parse::<u32>().ok()).max().unwrap_or(0);
    undo.subdir(format!("{}", last + 1))
}

/// The journals, the newest first. One without its file was begun, and nothing was changed yet.
pub(super) fn all(bottle: &Dir) -> Result<Vec<(Dir, Journal)>> {
    if bottle.stat(UNDO)?.is_none() {
        return Ok(Vec::new());
    }
    let undo = bottle.open_subdir(UNDO)?;
    let mut numbers: Vec<u32> = entries(&undo)?.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    let mut found = Vec::new();
    for number in numbers.into_iter().rev() {
        let dir = undo.open_subdir(number.to_string())?;
        if dir.stat(FILE)?.is_some() {
            let journal = Journal::read(&dir)?;
            found.push((dir, journal));
        }
    }
    Ok(found)
}

fn digest(mut file: &std::fs::File) -> Access<String> {
    let (mut context, mut buffer) = (Context::new(&SHA256), vec![0; CHUNK]);
    loop {
        called_off()?;
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(context.finish().as_ref())),
            Ok(count) => context.update(&buffer[..count]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Errno::from_io_error(&e).unwrap_or(Errno::IO)),
        }
    }
}
