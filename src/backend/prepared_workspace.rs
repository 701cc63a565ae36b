//! What the agent works in: a place for its changes, or a copy of the operator's directory.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use bottle_contract::Untrusted;
use rustix::fs::Mode;

use super::ids::Ids;
use crate::clock;
use crate::error::{Error, Result};
use crate::files::Dir;
use crate::manifest::model::WorkspaceMode;
use crate::store::{Claim, Object, Workspace};

/// A place that was made.
#[derive(Debug)]
pub(super) struct Made {
    /// The whole: of an overlay, the directory with `upper` and `work`.
    pub(super) directory: PathBuf,
    /// Where the agent's changes are: the upper directory, or the copy.
    pub(super) changes: PathBuf,
    /// What could not be taken along, as sentences.
    pub(super) left_out: Vec<String>,
}

/// Makes the place of an overlay or a copy, and writes down what its changes will be compared with. A copy belongs to `owner`, if that is
/// somebody else.
pub(super) fn make(source: &Path, mode: WorkspaceMode, owner: Option<Ids>, claim: &mut Claim) -> Result<Made> {
    let directory = claim.state().path().join("workspace");
    claim.record(Object::WorkspaceDir(directory.clone()))?;
    let since = clock::file_nanos();
    let dir = claim.state().subdir("workspace")?;
    let mut left_out = Vec::new();
    let changes = if mode == WorkspaceMode::Overlay {
        dir.subdir("work")?;
        dir.subdir("upper")?.path().to_owned()
    } else {
        let copy = dir.subdir("copy")?;
        left_out = copied(source, &copy)?;
        copy.path().to_owned()
    };
    same_mode(source, &changes);
    if let Some(ids) = owner {
        own_tree(&changes, ids).map_err(|e| Error::failed("cannot give the agent its copy", e, "bottle as root needs CAP_CHOWN"))?;
    }
    let copied = if mode == WorkspaceMode::Copy { clock::file_nanos() } else { 0 };
    claim.update(|m| m.workspace = Some(Workspace { mode, source: source.to_owned(), dir: changes.clone(), since, copied }))?;
    Ok(Made { directory, changes, left_out })
}

fn copied(source: &Path, copy: &Dir) -> Result<Vec<String>> {
    let report = crate::workspace::copy(&Dir::open(source)?, copy)?;
    let sentence = |skipped: &crate::workspace::Skipped| {
        let path = Untrusted::new(skipped.path.as_os_str().as_encoded_bytes());
        format!("{path} is not in the agent's copy: {}", skipped.why)
    };
    Ok(report.skipped.iter().map(sentence).collect())
}

/// The agent's view of the top directory has the mode of the operator's.
fn same_mode(source: &Path, view: &Path) {
    if let Ok(mode) = fs::metadata(source).map(|meta| meta.permissions().mode() & 0o777) {
        let _ = rustix::fs::chmod(view, Mode::from_raw_mode(mode | 0o700));
    }
}

/// Gives a tree that this process has just made to a component.
fn own_tree(top: &Path, ids: Ids) -> io::Result<()> {
    let mut ahead: Vec<PathBuf> = vec![top.to_owned()];
    while let Some(path) = ahead.pop() {
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                ahead.push(entry?.path());
            }
        }
        if (meta.uid(), meta.gid()) != (ids.uid, ids.gid) {
            lchown(&path, Some(ids.uid), Some(ids.gid))?;
        }
    }
    Ok(())
}
