//! `metadata.json`: what a bottle is, what was made for it, how far it came and how it ended.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Id;
use crate::error::{Error, Result};
use crate::files::{Dir, PRIVATE};
use crate::manifest::model::WorkspaceMode;

/// The name of the file.
const FILE: &str = "metadata.json";
/// The version that this program writes, and the only one that it reads.
const VERSION: u32 = 1;
/// More was not written by bottle: a thousand objects take a tenth of it.
const MAX_METADATA_BYTES: u64 = 1 << 20;

/// What is known about one bottle.
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
    /// The boot of the machine on which pids below mean something.
    pub boot_id: String,
    /// The process that holds the bottle.
    pub supervisor: Supervisor,
    /// What was made, in this order; each is recorded before it is made, and so may not be there.
    pub objects: Vec<Object>,
    /// The operator's directory that it was started for.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "host_path_or_none")]
    pub directory: Option<PathBuf>,
    /// What the agent works on.
    pub workspace: Option<Workspace>,
    /// How far it came.
    pub phase: Phase,
    /// Sidecars that do not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
    /// How it ended.
    pub exit: Option<Exit>,
}

/// A process, told from others that get its pid later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supervisor {
    /// The process.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
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
        /// Which component it is. Older records call it `piece`.
        #[serde(alias = "piece")]
        component: String,
        /// The process.
        pid: u32,
        /// When it started, in clock ticks since boot.
        start_time: u64,
    },
    /// A compose project, with all that carries its label.
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
    /// How the agent sees it.
    pub mode: WorkspaceMode,
    /// The operator's directory.
    #[serde(with = "bottle_init::host_path")]
    pub source: PathBuf,
    /// What the agent wrote: the upper directory of an overlay, or the copy.
    pub dir: PathBuf,
    /// When the agent's view was made, by [`crate::clock::file_nanos`]: what the operator changed later is in conflict.
    pub since: u64,
    /// When a copy was complete, by the same clock: what the agent never touched has older stamps. Zero for an overlay.
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

/// How far a bottle came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is being built.
    Starting,
    /// The agent runs.
    Running,
    /// It is being torn down.
    Stopping,
    /// Nothing is left but this directory.
    Ended,
}

/// How a bottle ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exit {
    /// What `bottle start` returned.
    pub code: u8,
    /// The signal that ended the agent.
    pub signal: Option<i32>,
    /// Why, if it was not the agent's own doing.
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
    /// The metadata of a bottle that starts now.
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
            exit: None,
        }
    }

    /// Reads the metadata of the bottle in `dir`. A symlink, a fifo or a huge file there is an error, like a broken one.
    pub(super) fn read(dir: &Dir, id: &Id) -> Result<Self> {
        Self::parse(&dir.read_bounded(FILE, MAX_METADATA_BYTES)?, id)
    }

    /// Replaces the file. Not synced while the bottle starts: after a crash of the program the kernel still has it, and after a crash of
    /// the machine nothing that it names exists. From then on it leads to the agent's work.
    pub(super) fn write(&self, dir: &Dir) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::failed("cannot record what is made for this bottle", e, "use paths that are plain UTF-8 text"))?;
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
                "`bottle cleanup` removes what is left of it, and keeps the agent's work",
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
    /// Where it is, if it is a place.
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
