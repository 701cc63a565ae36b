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
use crate::store::{Claim, HostPath, Object, Workspace};

/// The directory of a git directory's view, in that of the workspace.
const GIT: &str = "git";
/// The directory of copies from the start.
const BASE: &str = "base";

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
        base: None,
        hidden: Vec::new(),
    };
    let mut views = Views::default();
    if let Some(git) = &plan.git {
        let (view, record) = view(git, &[], overlays.git && no_layer(&dir).is_none(), owner, &dir.subdir(GIT)?, &mut left_out)?;
        views.git = Some(view);
        workspace.git = Some(Box::new(record));
    }
    if has_view {
        let refusal = if plan.mode == WorkspaceMode::Overlay && overlays.tree { no_layer(&dir) } else { None };
        left_out.extend(
            refusal.map(|why| format!("the working directory is copied: {why}; set BOTTLE_HOME to a directory on ext4, xfs or btrfs")),
        );
        let is_overlay = overlays.tree && plan.mode == WorkspaceMode::Overlay && refusal.is_none();
        let (view, record) = view(&plan.source, &plan.hidden, is_overlay, owner, &dir, &mut left_out)?;
        views.tree = Some(view);
        let base = dir.subdir(BASE)?;
        crate::workspace::keep_small(&Dir::open(&plan.source)?, &base)?;
        workspace = Workspace { git: workspace.git, base: Some(base.path().to_owned()), ..record };
    }
    claim.update(|m| m.workspace = Some(workspace))?;
    Ok((views, left_out))
}

/// Why an overlay cannot keep its changes in this directory; `None` if it can (Documentation/filesystems/overlayfs.rst, "Upper and lower").
fn no_layer(dir: &Dir) -> Option<&'static str> {
    // linux/magic.h
    const KINDS: [(u64, &str); 6] = [
        (0x794c_7630, "the state directory lies on an overlay"),
        (0x6969, "the state directory lies on NFS"),
        (0xff53_4d42, "the state directory lies on CIFS"),
        (0xfe53_4d42, "the state directory lies on CIFS"),
        (0x0102_1997, "the state directory lies on 9p"),
        (0x4d44, "the state directory lies on FAT"),
    ];
    let kind = rustix::fs::fstatfs(dir).ok()?.f_type as u64 & 0xffff_ffff;
    let known = KINDS.iter().find(|(magic, _)| *magic == kind).map(|(_, why)| *why);
    // The overlay's marks are extended attributes of the user's own name space.
    let probe = || rustix::fs::fsetxattr(dir, "user.bottle.probe", b"y", rustix::fs::XattrFlags::empty());
    known.or_else(|| {
        matches!(probe(), Err(rustix::io::Errno::OPNOTSUPP)).then_some("the state directory's file system has no extended attributes")
    })
}

/// Makes one view in `dir`, without the files in `hidden`.
fn view(
    source: &Path,
    hidden: &[PathBuf],
    is_overlay: bool,
    owner: Option<Ids>,
    dir: &Dir,
    left_out: &mut Vec<String>,
) -> Result<(View, Workspace)> {
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
    for path in hidden {
        hide(source, &changes, path, is_overlay).map_err(|e| {
            let shown = Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string();
            Error::failed(format!("cannot hide `{shown}` from the agent"), e, "move it out of the directory, or use `workspace: copy`")
        })?;
    }
    if let Some(ids) = owner {
        own_tree(&changes, ids).map_err(|e| Error::failed("cannot give the agent its copy", e, "bottle as root needs CAP_CHOWN"))?;
    }
    let (mode, copied) = if is_overlay { (WorkspaceMode::Overlay, 0) } else { (WorkspaceMode::Copy, clock::file_nanos()) };
    let hidden = hidden.iter().cloned().map(HostPath).collect();
    let view = View { is_overlay, source: source.to_owned(), directory: dir.path().to_owned(), changes: changes.clone() };
    Ok((view, Workspace { mode, source: source.to_owned(), dir: changes, since, copied, git: None, base: None, hidden }))
}

fn copied(source: &Path, copy: &Dir) -> Result<Vec<String>> {
    let report = crate::workspace::copy(&Dir::open(source)?, copy)?;
    let sentence = |skipped: &crate::workspace::Skipped| {
        let path = Untrusted::new(skipped.path.as_os_str().as_encoded_bytes());
        format!("{path} is not in the agent's copy: {}", skipped.why)
    };
    Ok(report.skipped.iter().map(sentence).collect())
}

/// Takes a file out of the agent's view: an overlay's mark that it is deleted, or its removal from a copy.
fn hide(source: &Path, view: &Path, path: &Path, is_overlay: bool) -> io::Result<()> {
    if !is_overlay {
        let copy = Dir::open(&view.join(path.parent().unwrap_or(Path::new("")))).map_err(|e| io::Error::other(e.cause.to_string()))?;
        return copy.remove_tree(path.file_name().unwrap_or_default()).map_err(|e| io::Error::other(e.cause.to_string()));
    }
    let above: Vec<&Path> = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).collect();
    for above in above.into_iter().rev() {
        match fs::create_dir(view.join(above)) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            // What the overlay shows of a directory is its upper one.
            _ => same_mode(&source.join(above), &view.join(above)),
        }
    }
    let kind = rustix::fs::FileType::CharacterDevice;
    Ok(rustix::fs::mknodat(rustix::fs::CWD, view.join(path), kind, Mode::empty(), 0)?)
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
