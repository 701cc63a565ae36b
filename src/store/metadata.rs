//! `metadata.json`: the description, objects, phase and exit of a bottle.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Id;
use crate::error::{Error, OrFail, Result};
use crate::files::{Dir, PRIVATE};
use crate::manifest::model::WorkspaceMode;

/// The name of the file.
const FILE: &str = "metadata.json";
/// The only version that this program reads and writes.
const VERSION: u32 = 1;
/// A larger file is not from bottle: a thousand objects take a tenth of it.
const MAX_METADATA_BYTES: u64 = 1 << 20;

/// The metadata of one bottle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The format.
    version: u32,
    /// The bottle.
    pub id: Id,
    /// The agent's name.
    pub agent: String,
    /// The name of the bottle's definition.
    pub bottle: String,
    /// `embedded` or `compose`.
    pub backend: String,
    /// When it was claimed, RFC 3339.
    pub created: String,
    /// The boot of the machine in which the pids below are valid.
    pub boot_id: String,
    /// The process that holds the bottle.
    pub supervisor: Supervisor,
    /// The objects in the order of their creation. Each is recorded before it is created, so it may not exist.
    pub objects: Vec<Object>,
    /// The operator's directory that it was started for.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "host_path_or_none")]
    pub directory: Option<PathBuf>,
    /// The agent's workspace.
    pub workspace: Option<Workspace>,
    /// Its phase.
    pub phase: Phase,
    /// Unresponsive sidecars.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
    /// Secrets that were redacted in its requests, once it has ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub redacted: u64,
    /// Its exit.
    pub exit: Option<Exit>,
}

/// A process, distinguishable from later ones with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supervisor {
    /// The process.
    pub pid: u32,
    /// Its start time, in clock ticks since boot.
    pub start_time: u64,
}

/// Something outside the state directory that must be undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Object {
    /// The bottle's directory in memory.
    RuntimeDir(PathBuf),
    /// A control group.
    Cgroup(PathBuf),
    /// A process.
    Process {
        /// The component. Old records call it `piece`.
        #[serde(alias = "piece")]
        component: String,
        /// The process.
        pid: u32,
        /// Its start time, in clock ticks since boot.
        start_time: u64,
    },
    /// A compose project, with all objects that carry its label.
    ComposeProject {
        /// Its name.
        project: String,
        /// The engine, if `DOCKER_HOST` named one.
        host: Option<String>,
    },
    /// The agent's working directory, where it is not the operator's own.
    WorkspaceDir(PathBuf),
}

/// What the agent works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workspace {
    /// The workspace mode.
    pub mode: WorkspaceMode,
    /// The operator's directory.
    #[serde(with = "bottle_init::host_path")]
    pub source: PathBuf,
    /// The agent's changes: the upper directory of an overlay, or the copy.
    pub dir: PathBuf,
    /// When the workspace was created, by [`crate::clock::file_nanos`]. Later changes of the operator are conflicts.
    pub since: u64,
    /// When the copy was complete, by the same clock: files that the agent never touched have older timestamps. Zero for an overlay.
    pub copied: u64,
    /// A git directory outside of the tree that the agent had a view of, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<Box<Workspace>>,
    /// Copies of files as they were at the start, as far as there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
    /// Files that the agent was not shown, relative to the directory: nothing comes back in their place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<HostPath>,
}

/// A path of the host, which need not be text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPath(#[serde(with = "bottle_init::host_path")] pub PathBuf);

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A path of the host that may not be known.
mod host_path_or_none {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::HostPath;

    pub(super) fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        path.clone().map(HostPath).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<HostPath>::deserialize(deserializer)?.map(|HostPath(path)| path))
    }
}

/// The phase of a bottle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is starting.
    Starting,
    /// The agent is running.
    Running,
    /// It is being torn down.
    Stopping,
    /// Only this directory is left.
    Ended,
}

/// The exit of a bottle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exit {
    /// The exit code of `bottle start`.
    pub code: u8,
    /// The signal that killed the agent.
    pub signal: Option<i32>,
    /// The cause, if the agent did not exit by itself.
    pub message: Option<String>,
    /// When, RFC 3339.
    pub ended: String,
}

/// The part that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Metadata {
    /// The metadata of a bottle that is starting.
    pub(super) fn new(id: Id, created: String, boot_id: String, supervisor: Supervisor, objects: Vec<Object>) -> Self {
        let agent = id.as_str().to_owned();
        Self {
            version: VERSION,
            id,
            agent,
            bottle: String::new(),
            backend: String::new(),
            created,
            boot_id,
            supervisor,
            objects,
            directory: None,
            workspace: None,
            phase: Phase::Starting,
            silent: Vec::new(),
            redacted: 0,
            exit: None,
        }
    }

    /// Reads the metadata of the bottle in `dir`. A symlink, a FIFO or a huge file is an error.
    pub(super) fn read(dir: &Dir, id: &Id) -> Result<Self> {
        Self::parse(&dir.read_bounded(FILE, MAX_METADATA_BYTES)?, id)
    }

    /// Replaces the file. It is not synced while the bottle starts: a crash of the program does not lose it, and after a crash of the machine
    /// nothing that it names exists. Afterwards it is synced, because it leads to the agent's work.
    pub(super) fn write(&self, dir: &Dir) -> Result<()> {
        let mut text =
            serde_json::to_vec_pretty(self).or_fail("cannot record an object of this bottle", "use paths that are plain UTF-8 text")?;
        text.push(b'\n');
        match self.phase {
            Phase::Starting => dir.replace_unsynced(FILE, &text, PRIVATE),
            Phase::Running | Phase::Stopping | Phase::Ended => dir.replace_whole(FILE, &text, PRIVATE),
        }
    }

    /// Reads metadata of the bottle `id` from text.
    pub fn parse(text: &[u8], id: &Id) -> Result<Self> {
        let broken = |cause: String| {
            Error::failed(
                format!("the metadata of `{id}` is unreadable"),
                cause,
                "`bottle cleanup` removes its leftovers, and preserves the agent's work",
            )
        };
        let versioned: Versioned = serde_json::from_slice(text).map_err(|e| broken(e.to_string()))?;
        if versioned.version != VERSION {
            return Err(broken(format!("it has version {}, and this program reads version {VERSION}", versioned.version)));
        }
        let metadata: Self = serde_json::from_slice(text).map_err(|e| broken(e.to_string()))?;
        if metadata.id != *id {
            return Err(broken(format!("it belongs to `{}`", metadata.id)));
        }
        for path in metadata.objects.iter().filter_map(Object::path) {
            if !is_plain(path) {
                return Err(broken("an object has a path that is relative or has `..` in it".to_owned()));
            }
        }
        Ok(metadata)
    }
}

impl Object {
    /// Its path, if it has one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::RuntimeDir(path) | Self::Cgroup(path) | Self::WorkspaceDir(path) => Some(path),
            Self::Process { .. } | Self::ComposeProject { .. } => None,
        }
    }
}

fn is_plain(path: &Path) -> bool {
    path.is_absolute() && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}
