//! Where the agent works: which directories of the host it is shown, and where they are inside. Pure.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::agent::{HOME, WORKSPACE};
use super::program::TREES;
use crate::manifest::model::WorkspaceMode;

/// Where the operator works, as the host says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The working directory.
    pub directory: PathBuf,
    /// The top of the repository that it lies in; the working directory itself where there is none.
    pub top: PathBuf,
    /// The repository's git directory, if it lies elsewhere: of a worktree, or of a submodule.
    pub git: Option<PathBuf>,
    /// Files in it that are not shown, relative to its top.
    pub hidden: Vec<PathBuf>,
    /// Sentences for the operator.
    pub notes: Vec<String>,
}

impl Place {
    /// A directory that is no part of a repository.
    pub fn plain(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        Self { top: directory.clone(), directory, git: None, hidden: Vec::new(), notes: Vec::new() }
    }
}

/// The agent's working directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkspacePlan {
    /// How.
    pub mode: WorkspaceMode,
    /// The operator's directory.
    #[serde(with = "bottle_init::host_path")]
    pub source: PathBuf,
    /// The same inside.
    pub target: PathBuf,
    /// A git directory outside of it that its repository needs. It has the same path inside, and is copy-on-write in every mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<PathBuf>,
    /// Files of it that the agent does not see, relative to it.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "texts")]
    pub hidden: Vec<PathBuf>,
}

fn texts<S: serde::Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

impl WorkspacePlan {
    /// The plan for this place.
    pub(super) fn new(mode: WorkspaceMode, place: &Place) -> Self {
        let git = place.git.clone().filter(|path| mode != WorkspaceMode::None && has_own_path(path));
        // A mounted tree is the operator's own: nothing in it can be covered without a trace there.
        let hides = matches!(mode, WorkspaceMode::Overlay | WorkspaceMode::Copy);
        let hidden = if hides { place.hidden.clone() } else { Vec::new() };
        Self { mode, source: place.top.clone(), target: target(mode, &place.top), git, hidden }
    }

    /// Where the agent starts: as far below the top as the operator.
    pub(super) fn start(&self, place: &Place) -> PathBuf {
        match place.directory.strip_prefix(&place.top) {
            Ok(below) if self.mode != WorkspaceMode::None && below.to_str().is_some_and(|below| !below.is_empty()) => {
                self.target.join(below)
            }
            _ => self.target.clone(),
        }
    }

    /// Another name of it inside, for whoever looks for it there.
    pub fn alias(&self) -> Option<&'static Path> {
        (!self.target.starts_with(WORKSPACE)).then_some(Path::new(WORKSPACE))
    }
}

/// Programs write absolute paths into what they make, so a tree keeps its own, unless the bottle needs that place for itself.
fn target(mode: WorkspaceMode, top: &Path) -> PathBuf {
    if mode != WorkspaceMode::None && has_own_path(top) { top.to_owned() } else { WORKSPACE.into() }
}

/// Kernel file systems, in which nothing can be made.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];
/// What a bottle makes itself.
const OWN: [&str; 6] = [HOME, "/tmp", "/var/tmp", "/run", "/etc", "/var/lib"];

fn has_own_path(path: &Path) -> bool {
    let covers = |place: &&str| Path::new(place).starts_with(path);
    path.is_absolute()
        // A colon separates the parts of an engine's volume, and the entries of `PATH` and its like.
        && path.to_str().is_some_and(|text| !text.chars().any(|c| c.is_control() || c == ':'))
        && !KERNEL.iter().any(|place| path.starts_with(place))
        && !KERNEL.iter().chain(&OWN).chain(&TREES).any(covers)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    // covers: V11 V41 W12
    #[test]
    fn a_tree_keeps_its_path_unless_the_bottle_needs_that_place() {
        let own =
            ["/home/ann/web", "/srv/x", "/tmp/x/work", "/run/media/ann/usb", "/usr/src/app", "/workspace", "/workspace/a", "/home/agent/x"];
        for path in own {
            assert_eq!(target(WorkspaceMode::Overlay, Path::new(path)), Path::new(path));
            assert_eq!(target(WorkspaceMode::None, Path::new(path)), Path::new(WORKSPACE));
        }
        for path in ["/", "/home", "/home/agent", "/tmp", "/run", "/etc", "/usr", "/var", "/proc/1/cwd", "/dev/shm/x", "/a\nb", "/srv/a:b"]
        {
            assert_eq!(target(WorkspaceMode::Mount, Path::new(path)), Path::new(WORKSPACE), "{path}");
        }
        assert_eq!(target(WorkspaceMode::Copy, Path::new(OsStr::from_bytes(b"/\xff"))), Path::new(WORKSPACE));
    }

    // covers: W11
    #[test]
    fn the_agent_starts_as_far_below_the_top_as_the_operator() {
        let place = Place { directory: "/home/ann/web/src/bin".into(), top: "/home/ann/web".into(), ..Place::default() };
        let start = |mode| WorkspacePlan::new(mode, &place).start(&place);
        assert_eq!(start(WorkspaceMode::Overlay), Path::new("/home/ann/web/src/bin"));
        assert_eq!(start(WorkspaceMode::None), Path::new(WORKSPACE));
        let home = Place { directory: "/home/web".into(), top: "/home".into(), ..Place::default() };
        assert_eq!(WorkspacePlan::new(WorkspaceMode::Copy, &home).start(&home), Path::new("/workspace/web"));
    }

    #[test]
    fn only_a_tree_elsewhere_has_a_second_name() {
        for (top, alias) in [("/srv/x", Some(Path::new(WORKSPACE))), ("/workspace", None), ("/workspace/x", None), ("/home", None)] {
            assert_eq!(WorkspacePlan::new(WorkspaceMode::Overlay, &Place::plain(top)).alias(), alias, "{top}");
        }
    }
}
