//! The plan: everything that a start will do, as data, before anything is done.
//!
//! [`build::plan`] is pure. `bottle start --dry-run` prints a plan, a backend performs it, teardown undoes it. A plan
//! names secrets and never holds one.

pub mod agent;
pub mod build;
pub mod config;
pub mod git;
pub mod program;
pub mod sidecars;
pub mod step;
pub mod workspace;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::manifest::model::{EnvValue, Rootfs};

pub use build::plan;
pub use config::{Config, SidecarConfig};
pub use step::Step;
pub use workspace::WorkspacePlan;

/// Everything that a start will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Changes whenever the meaning of this structure does.
    pub version: u32,
    /// The bottle's id: the agent's name, or the next free one after it.
    pub id: String,
    /// The bottle's manifest.
    pub bottle: String,
    /// The untrusted program.
    pub agent: AgentPlan,
    /// Its working directory.
    pub workspace: WorkspacePlan,
    /// What its root file system is made of.
    pub rootfs: Rootfs,
    /// Further directories of the host that it sees, read-only.
    pub tools: Vec<PathBuf>,
    /// The components around it, in the order of their start.
    pub sidecars: Vec<SidecarPlan>,
    /// Bounds.
    pub limits: LimitsPlan,
    /// Sentences that the operator should read before saying yes.
    pub notes: Vec<String>,
    /// What is done, in order; undone in reverse.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The sidecar that has this configuration.
    pub fn sidecar<C: Config>(&self) -> Option<(&SidecarPlan, &C)> {
        self.sidecars.iter().find_map(|sidecar| Some((sidecar, C::of(&sidecar.config)?)))
    }
}

/// The untrusted program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgentPlan {
    /// The agent's manifest.
    pub name: String,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// All of its variables, but for the values that come from the host.
    pub env: BTreeMap<String, EnvValue>,
    /// It has a terminal of its own; otherwise plain pipes.
    pub terminal: bool,
    /// Where it starts.
    pub directory: PathBuf,
    /// Names that it can look up, all of them on the loopback interface of its own network.
    pub hosts: Vec<String>,
    /// The certificate authority that it trusts, and no other: the component's name.
    pub trusts: String,
    /// Links in its home, to what they lead to: its own program, where no directory of its `PATH` has it.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Files in its home that its program would otherwise ask a person for, with their text.
    pub files: BTreeMap<PathBuf, String>,
}

/// One sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SidecarPlan {
    /// Its name.
    pub component: String,
    /// What it can reach by itself.
    pub network: Network,
    /// The sockets that it serves.
    pub listeners: Vec<ListenerPlan>,
    /// Its configuration.
    pub config: SidecarConfig,
    /// It has a certificate authority of its own.
    pub authority: bool,
    /// The secrets that it is given.
    pub secrets: Vec<SecretPlan>,
    /// PEM files of the host, by the name that they have in its configuration directory.
    pub trust: BTreeMap<String, PathBuf>,
    /// It connects to its siblings' unix sockets.
    pub dials_siblings: bool,
    /// It needs to resolve names and to check certificates as the host does.
    pub host_resolution: bool,
    /// It learns to recognise the bottle's secrets, without holding them.
    pub recognises_secrets: bool,
}

/// What a component can reach by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Nothing.
    None,
    /// What the host can.
    Host,
}

/// A socket that a sidecar serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerPlan {
    /// Its name in the hand-over.
    pub name: String,
    /// Who may dial it: the socket is opened where only they can reach it.
    pub dialled_by: Dialler,
}

/// Who may dial a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialler {
    /// The agent, at this port of its own loopback interface.
    Agent(u16),
    /// The other sidecars, at this unix socket in the link directory.
    Siblings(String),
}

/// A secret, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretPlan {
    /// The file that the sidecar reads.
    pub slot: String,
    /// The host's variable that holds the value, or the path of the file that does.
    pub token_ref: String,
    /// It is a file: a private key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_file: bool,
}

/// Bounds, with the built-in ones filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LimitsPlan {
    /// Bytes of memory, all of the agent's processes together.
    pub memory: u64,
    /// The manifest asks for it, so that a host that cannot give it must refuse.
    pub memory_is_required: bool,
    /// Bytes of each file system in memory that it may fill.
    pub scratch: u64,
    /// Processes and threads of the agent.
    pub pids: u64,
    /// Wall-clock time of the agent.
    pub time: Option<Duration>,
}
