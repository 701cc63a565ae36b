//! What a manifest says, after it was read, checked and resolved: the input of the plan.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bottle_contract::HostPattern;
use bottle_contract::gate::PushPolicy;
use bottle_contract::remote::RemoteUrl;
use bottle_contract::route::Match;
use serde::{Deserialize, Serialize};

/// An agent and the bottle it names, with `extends` resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resolved {
    /// Who runs.
    pub agent: Agent,
    /// In what.
    pub bottle: Bottle,
}

/// The untrusted program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// Its key: the file's name.
    pub name: String,
    /// One line for `bottle info`.
    pub description: String,
    /// Which program it is.
    pub provider: Provider,
    /// How it sees the user's working directory; `None`: as the bottle says.
    pub workspace: Option<WorkspaceMode>,
    /// The system prompt: the manifest's body, trimmed.
    pub prompt: String,
    /// Where it was defined, for messages.
    pub origin: Origin,
}

/// Where a definition came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The starter library inside the program.
    BuiltIn,
    /// The operator's own configuration.
    Home(PathBuf),
    /// The repository's `.bottle/agents`: data from whoever wrote the repository.
    Repo(PathBuf),
}

/// Which program an agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Claude Code.
    Claude,
    /// An interactive shell.
    Shell,
    /// Any other program, with its arguments.
    Command(Vec<String>),
}

/// How the agent sees the user's working directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceMode {
    /// Copy on write; the host's tree stays as it is.
    #[default]
    Overlay,
    /// A full copy.
    Copy,
    /// The tree itself, writable.
    Mount,
    /// An empty directory.
    None,
}

/// What makes a bottle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Namespaces, without a daemon.
    #[default]
    Embedded,
    /// A container engine, by compose.
    Compose,
}

/// The wall around the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bottle {
    /// Its key: the file's name.
    pub name: String,
    /// The agent's variables, by name.
    pub env: BTreeMap<String, EnvValue>,
    /// What it may reach.
    pub egress: Egress,
    /// Repositories that the agent may fetch from and push to; empty: no `git-gate`.
    pub git: Vec<Repo>,
    /// Whom the agent's commits name.
    pub author: Author,
    /// The agent may ask, a person decides.
    pub supervise: bool,
    /// Scanning beyond what always is done.
    pub scan: Scan,
    /// Bounds.
    pub limits: Limits,
    /// What the agent's root file system is made of.
    pub rootfs: Rootfs,
    /// Further directories of the host that the agent sees, read-only, at the same path.
    pub tools: Vec<PathBuf>,
    /// How it sees the user's working directory, unless the agent says otherwise.
    pub workspace: WorkspaceMode,
    /// What makes it, unless the command line says otherwise.
    pub backend: Backend,
    /// Where it was defined.
    pub origin: Origin,
}

/// Where a variable's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvValue {
    /// Text with `${NAME}` pieces to fill in from the host.
    Template(Vec<TemplatePart>),
    /// Asked for at start, without echo, with this prompt.
    Ask(String),
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplatePart {
    /// As it stands.
    Text(String),
    /// The value of the host's variable; unset is an error.
    Host(String),
}

/// What the agent may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Egress {
    /// The table.
    pub routes: Vec<Route>,
    /// PEM files with further roots for origins.
    pub trust: Vec<PathBuf>,
    /// A proxy behind pipelock.
    pub parent: Option<Parent>,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The hosts.
    pub host: HostPattern,
    /// The ports.
    pub ports: Vec<u16>,
    /// What may be asked there. Empty: everything.
    pub matches: Vec<Match>,
    /// The credential to put in.
    pub auth: Option<Auth>,
    /// Dial this address for the host.
    pub connect: Option<SocketAddr>,
}

/// Which credential to put in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Auth {
    /// Header name in lower case.
    pub header: String,
    /// `Bearer`, `token`, `Basic`, or none.
    pub scheme: Option<String>,
    /// The host's environment variable that holds the value.
    pub token_ref: String,
}

/// A proxy behind pipelock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parent {
    /// Its address.
    pub address: SocketAddr,
    /// PEM file with the authority that it signs with.
    pub ca: Option<PathBuf>,
}

/// A repository behind `git-gate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repo {
    /// Its name at the gate.
    pub name: String,
    /// The upstream.
    pub upstream: RemoteUrl,
    /// The key file for SSH.
    pub identity: Option<PathBuf>,
    /// The upstream's host key.
    pub host_key: Option<String>,
    /// The credential for HTTPS.
    pub auth: Option<Auth>,
    /// Dial this address for the upstream.
    pub connect: Option<SocketAddr>,
    /// What may be pushed.
    pub push: PushPolicy,
    /// Commits and tags may name another than [`Bottle::author`] as the one who made them.
    pub other_committers: bool,
}

/// Whom commits name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Author {
    /// A name.
    pub name: String,
    /// An address.
    pub email: String,
}

impl Default for Author {
    /// An address that nobody can have (RFC 2606, section 2).
    fn default() -> Self {
        Self { name: "agent".into(), email: "agent@bottle.invalid".into() }
    }
}

impl std::fmt::Display for Author {
    /// As git writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} <{}>", self.name, self.email)
    }
}

/// Scanning beyond what always is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scan {
    /// Files of rules in gitleaks' format.
    pub rules: Vec<PathBuf>,
    /// Answers are searched for text that tries to instruct the agent.
    pub answers: bool,
}

/// Bounds; `None` is the built-in default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of each file system in memory: the home directory and temporary files.
    pub scratch: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Wall-clock time, after which the agent is ended.
    pub time: Option<Duration>,
}

/// What the agent's root file system is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rootfs {
    /// A read-only view of the host's tools.
    #[default]
    Host,
    /// An OCI image archive.
    Image(PathBuf),
}
