//! The plan: everything that a start will do, as data.
//!
//! [`build::plan`] is pure. `bottle start --dry-run` prints a plan, a backend applies it, teardown undoes it. A plan names
//! secrets and contains none.

pub mod agent;
mod blueprint;
pub mod build;
pub mod command_line;
mod fixed;
pub mod git;
mod home;
mod instructions;
mod mcp;
pub mod program;
mod reached;
pub mod sidecar_config;
pub mod sidecars;
pub mod step;
#[cfg(test)]
pub(crate) mod testing;
pub mod toolchains;
pub mod workspace;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::manifest::model::{EnvValue, Rootfs};
use crate::manifest::token::TokenSource;

pub use blueprint::Blueprint;
pub use build::plan;
pub use sidecar_config::{Config, SidecarConfig};
pub use step::Step;
pub use workspace::WorkspacePlan;

/// Everything that a start will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The version of this structure.
    pub version: u32,
    /// The bottle's id: the agent's name, or the next free one after it.
    pub id: String,
    /// The bottle's manifest.
    pub bottle: String,
    /// The untrusted program.
    pub agent: AgentPlan,
    /// Its working directory.
    pub workspace: WorkspacePlan,
    /// The source of its root file system.
    pub rootfs: Rootfs,
    /// Additional directories of the host that it sees, read-only.
    pub tools: Vec<PathBuf>,
    /// The sidecars, in the order of their start.
    pub sidecars: Vec<SidecarPlan>,
    /// Limits.
    pub limits: LimitsPlan,
    /// The origins of its routes, the bottle's own first.
    pub routes: Vec<RouteCount>,
    /// Notes for the operator's confirmation.
    pub notes: Vec<String>,
    /// The steps, in order. They are undone in reverse.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The sidecar that has this configuration.
    pub fn sidecar<C: Config>(&self) -> Option<(&SidecarPlan, &C)> {
        self.sidecars.iter().find_map(|sidecar| Some((sidecar, C::of(&sidecar.config)?)))
    }

    /// Whether names have addresses in the agent's network.
    pub fn has_local_names(&self) -> bool {
        let mut listeners = self.sidecars.iter().flat_map(|sidecar| &sidecar.listeners);
        listeners.any(|listener| matches!(listener.dialled_by, Dialler::Direct(_)))
    }
}

/// Routes of one bottle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteCount {
    /// The bottle whose manifest has them.
    pub from: String,
    /// How many.
    pub count: usize,
}

/// The untrusted program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgentPlan {
    /// The agent's manifest.
    pub name: String,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// All of its variables, without the values that come from the host.
    pub env: BTreeMap<String, EnvValue>,
    /// It has a terminal of its own; otherwise plain pipes.
    pub terminal: bool,
    /// Its initial working directory.
    pub directory: PathBuf,
    /// The names that it can resolve, all on its own loopback interface.
    pub hosts: Vec<String>,
    /// The component whose certificate authority it trusts. It trusts no other.
    pub trusts: String,
    /// Links in its home, and their targets: its program, unless a directory of its `PATH` has it.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Files in its home, with their text, so that its program starts without questions.
    pub files: BTreeMap<PathBuf, String>,
}

/// One sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SidecarPlan {
    /// Its name.
    pub component: String,
    /// Its own network access.
    pub network: Network,
    /// The sockets that it serves.
    pub listeners: Vec<ListenerPlan>,
    /// Its configuration.
    pub config: SidecarConfig,
    /// It has a certificate authority of its own.
    pub authority: bool,
    /// Its secrets.
    pub secrets: Vec<SecretPlan>,
    /// PEM files of the host, by their names in its configuration directory.
    pub trust: BTreeMap<String, PathBuf>,
    /// It connects to its siblings' unix sockets.
    pub dials_siblings: bool,
    /// It resolves names and checks certificates as the host does.
    pub host_resolution: bool,
    /// It gets fingerprints, to recognise the bottle's secrets.
    pub recognises_secrets: bool,
}

/// The network access of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// None.
    None,
    /// The host's.
    Host,
}

/// A socket that a sidecar serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerPlan {
    /// Its name in `LISTEN_FDNAMES`.
    pub name: String,
    /// Who may dial it. Nobody else can reach the socket.
    pub dialled_by: Dialler,
}

/// Who may dial a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialler {
    /// The agent, at this port of its own loopback interface.
    Agent(u16),
    /// Programs of the agent that know no proxy, at what they dial and ask anyway.
    Direct(Direct),
    /// The other sidecars, at this unix socket in the link directory.
    Siblings(String),
    /// The supervisor alone: a connection is handed over in place of a listener.
    Supervisor,
}

/// Where a program without a proxy arrives. Every name has an address of its own there ([`bottle_contract::local`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direct {
    /// This port of every local address.
    Port(u16),
    /// The resolver, over UDP.
    ResolverUdp,
    /// The same over TCP.
    ResolverTcp,
    /// Ports of protocols that cannot cross the wall: the kernel refuses the connection, the sidecar records it.
    Refusals,
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
    /// Where a token comes from.
    #[serde(skip_serializing_if = "is_variable")]
    pub source: TokenSource,
    /// Where a person gets it, if its provider says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obtain: Option<String>,
}

fn is_variable(source: &TokenSource) -> bool {
    *source == TokenSource::Variable
}

/// Limits, with the defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LimitsPlan {
    /// Bytes of memory, all of the agent's processes together.
    pub memory: u64,
    /// The manifest sets it, so a host that cannot enforce it must refuse.
    pub memory_is_required: bool,
    /// Bytes of each file system in memory that the agent may fill.
    pub scratch: u64,
    /// Processes and threads of the agent.
    pub pids: u64,
    /// Wall-clock time of the agent.
    pub time: Option<Duration>,
}
