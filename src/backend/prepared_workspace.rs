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
use crate::plan::WorkspacePlan;
use crate::store::{Claim, Object, Workspace};

/// The directory of a git directory's view, in that of the workspace.
const GIT: &str = "git";

/// One view that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Copy on write, or a copy.
    pub is_overlay: bool,
    /// The operator's directory.
    pub source: PathBuf,
    /// The whole: of an overlay, the directory with `upper` and `work`.
    pub directory: PathBuf,
    /// Where the agent's changes are: the upper directory, or the copy.
    pub changes: PathBuf,
}

/// The views of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Views {
    /// Its working directory, unless that is the operator's own, or none of his.
    pub tree: Option<View>,
    /// The git directory elsewhere that its repository needs.
    pub git: Option<View>,
}

/// Which of the directories can be shown as overlays.
pub(super) struct Overlays {
    pub(super) tree: bool,
    pub(super) git: bool,
}

/// Makes the places of overlays or copies, and writes down what changes will be compared with. A copy belongs to `owner`, if that is
/// somebody else. What could not be taken along comes as sentences.
pub(super) fn make(plan: &WorkspacePlan, overlays: Overlays, owner: Option<Ids>, claim: &mut Claim) -> Result<(Views, Vec<String>)> {
    let has_view = matches!(plan.mode, WorkspaceMode::Overlay | WorkspaceMode::Copy);
    if !has_view && plan.git.is_none() {
        return Ok(Default::default());
    }
    let directory = claim.state().path().join("workspace");
    claim.record(Object::WorkspaceDir(directory))?;
    let dir = claim.state().subdir("workspace")?;
    let mut left_out = Vec::new();
    let mut workspace = Workspace {
        mode: WorkspaceMode::Mount,
        source: plan.source.clone(),
        dir: plan.source.clone(),
        since: clock::file_nanos(),
        copied: 0,
        git: None,
    };
    let mut views = Views::default();
    if let Some(git) = &plan.git {
        let (view, record) = view(git, overlays.git, owner, &dir.subdir(GIT)?, &mut left_out)?;
        views.git = Some(view);
        workspace.git = Some(Box::new(record));
    }
    if has_view {
        let is_overlay = overlays.tree && plan.mode == WorkspaceMode::Overlay;
        let (view, record) = view(&plan.source, is_overlay, owner, &dir, &mut left_out)?;
        views.tree = Some(view);
        workspace = Workspace { git: workspace.git, ..record };
    }
    claim.update(|m| m.workspace = Some(workspace))?;
    Ok((views, left_out))
}

/// Makes one view in `dir`.
fn view(source: &Path, is_overlay: bool, owner: Option<Ids>, dir: &Dir, left_out: &mut Vec<String>) -> Result<(View, Workspace)> {
    let since = clock::file_nanos();
    let changes = if is_overlay {
        dir.subdir("work")?;
        dir.subdir("upper")?.path().to_owned()
    } else {
        let copy = dir.subdir("copy")?;
        left_out.extend(copied(source, &copy)?);
        copy.path().to_owned()
    };
    same_mode(source, &changes);
    if let Some(ids) = owner {
        own_tree(&changes, ids).map_err(|e| Error::failed("cannot give the agent its copy", e, "bottle as root needs CAP_CHOWN"))?;
    }
    let (mode, copied) = if is_overlay { (WorkspaceMode::Overlay, 0) } else { (WorkspaceMode::Copy, clock::file_nanos()) };
    let view = View { is_overlay, source: source.to_owned(), directory: dir.path().to_owned(), changes: changes.clone() };
    Ok((view, Workspace { mode, source: source.to_owned(), dir: changes, since, copied, git: None }))
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
