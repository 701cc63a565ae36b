//! The resolved manifest: the input of the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bottle_contract::HostPattern;
use bottle_contract::gate::PushPolicy;
use bottle_contract::remote::RemoteUrl;
use bottle_contract::route::{Match, OnSecret, PathRule};
use serde::{Deserialize, Serialize};

use super::model_apis;
use super::provider::Provider;
use super::token::TokenSource;

/// An agent and the bottle it names, with `extends` resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resolved {
    /// The agent.
    pub agent: Agent,
    /// Its bottle.
    pub bottle: Bottle,
}

/// The untrusted program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// Its name: the file's name without `.md`.
    pub name: String,
    /// One line for `bottle info`.
    pub description: String,
    /// Which program it is.
    #[serde(rename = "provider")]
    pub program: AgentProgram,
    /// The model that it is started with.
    pub model: Option<String>,
    /// How it sees the user's working directory; `None`: as the bottle says.
    pub workspace: Option<WorkspaceMode>,
    /// Files of the operator's home that it gets copies of.
    pub home: Home,
    /// Directories of skills.
    pub skills: Vec<PathBuf>,
    /// MCP servers, by name.
    pub mcp: BTreeMap<String, McpServer>,
    /// The system prompt: the manifest's body, trimmed.
    pub prompt: String,
    /// Its origin, for messages.
    pub origin: Origin,
}

/// Which files of the operator's home an agent gets copies of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Home {
    /// Those that its provider lists.
    pub defaults: bool,
    /// By the path in the agent's home: the file or directory of the operator's.
    pub files: BTreeMap<PathBuf, PathBuf>,
}

/// An MCP server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum McpServer {
    /// A program inside the bottle.
    Command {
        /// With its arguments.
        command: Vec<String>,
        /// With these variables.
        env: BTreeMap<String, String>,
    },
    /// A service, which a route must allow.
    Url(String),
}

/// Where a definition came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Built in.
    BuiltIn,
    /// The operator's own configuration.
    Home(PathBuf),
    /// The repository's `.bottle/agents`: untrusted data.
    Repo(PathBuf),
}

/// The program of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentProgram {
    /// Any program, with its arguments.
    Command(Vec<String>),
    /// One that bottle knows how to start.
    #[serde(untagged)]
    Provider(Box<Provider>),
}

impl AgentProgram {
    /// The provider, if it is one.
    pub fn provider(&self) -> Option<&Provider> {
        match self {
            Self::Provider(provider) => Some(provider),
            Self::Command(_) => None,
        }
    }
}

/// The agent's view of the working directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceMode {
    /// Copy on write; the host's tree does not change.
    #[default]
    Overlay,
    /// A full copy.
    Copy,
    /// The tree itself, writable.
    Mount,
    /// An empty directory.
    None,
}

/// The backend of a bottle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Namespaces, without a daemon.
    #[default]
    Embedded,
    /// A container engine, through compose.
    Compose,
}

/// The isolation around an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bottle {
    /// Its name: the file's name without `.md`.
    pub name: String,
    /// The agent's variables, by name.
    pub env: BTreeMap<String, EnvValue>,
    /// Its network access.
    pub egress: Egress,
    /// Repositories that the agent may fetch from and push to. Without any, there is no `git-gate`.
    pub git: Vec<Repo>,
    /// The identity of the agent's commits.
    pub author: Author,
    /// How a person is asked for more. `None`: nobody is.
    pub supervise: Option<Supervise>,
    /// Scanning beyond the default.
    pub scan: Scan,
    /// Limits.
    pub limits: Limits,
    /// The source of the agent's root file system.
    pub rootfs: Rootfs,
    /// Additional directories of the host that the agent sees, read-only, at the same path.
    pub tools: Vec<PathBuf>,
    /// Programs and toolchains of the operator's home are found and shown.
    pub toolchains: bool,
    /// How it sees the user's working directory, unless the agent says otherwise.
    pub workspace: WorkspaceMode,
    /// The backend, unless the command line sets one.
    pub backend: Backend,
    /// Its origin.
    pub origin: Origin,
}

/// How a person is asked for what the manifest does not allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Supervise {
    /// What becomes of questions when no person is at a terminal.
    pub unattended: Unattended,
    /// How long a request is held while a person is asked.
    pub hold: Duration,
    /// The file of signers of whom one must sign each grant (ssh-keygen(1), "ALLOWED SIGNERS").
    pub signers: Option<PathBuf>,
}

/// What becomes of questions when no person is at a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unattended {
    /// Nobody is asked.
    #[default]
    Deny,
    /// They wait for `bottle answer`.
    Queue,
}

impl Supervise {
    /// Questions wait even if no person is at a terminal.
    pub fn queues(&self) -> bool {
        self.unattended == Unattended::Queue
    }
}

impl Default for Supervise {
    /// Clients wait for 60 seconds at least: a request that is held must be answered before.
    fn default() -> Self {
        Self { unattended: Unattended::default(), hold: Duration::from_secs(45), signers: None }
    }
}

/// The source of a variable's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvValue {
    /// Text with `${NAME}` placeholders for variables of the host.
    Template(Vec<TemplatePart>),
    /// Read at start with this prompt, without echo.
    Ask(String),
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplatePart {
    /// Literal text.
    Text(String),
    /// The value of a host variable, which must be set.
    Host(String),
}

/// The network access of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Egress {
    /// The routes.
    pub routes: Vec<Route>,
    /// A person is asked about every request that no route allows.
    pub ask: bool,
    /// PEM files with additional roots for origins.
    pub trust: Vec<PathBuf>,
    /// A proxy behind pipelock.
    pub parent: Option<Parent>,
    /// Rows that a child repeats of its parent, by the names of both: a manifest from when a list replaced the parent's.
    pub repeated: Vec<(String, String)>,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The hosts.
    pub host: HostPattern,
    /// The ports.
    pub ports: Vec<u16>,
    /// Allowed methods and paths. Empty: all.
    pub matches: Vec<Match>,
    /// The credential to inject.
    pub auth: Option<Auth>,
    /// Dial this address for the host.
    pub connect: Option<SocketAddr>,
    /// What happens to a secret in a request's body, if the row says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_secret: Option<OnSecret>,
    /// A person is asked about what `matches` does not allow. Without matches, nothing is allowed unasked.
    pub ask: bool,
    /// Where the row was written.
    pub from: RouteOrigin,
}

impl Route {
    /// What happens to a secret in a request's body, and on which paths; on others the request is refused. Empty: on all.
    pub fn on_secret(&self) -> (OnSecret, &[PathRule]) {
        match (self.on_secret, model_apis::conversations(&self.host)) {
            (Some(action), _) => (action, &[]),
            (None, Some(paths)) => (OnSecret::Redact, paths),
            (None, None) => (OnSecret::Refuse, &[]),
        }
    }
}

/// Where a row of the table was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouteOrigin {
    /// The bottle.
    pub bottle: String,
    /// The preset that the bottle names.
    pub preset: Option<String>,
}

impl std::fmt::Display for RouteOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.preset {
            None => f.write_str(&self.bottle),
            Some(preset) => write!(f, "{}, preset {preset}", self.bottle),
        }
    }
}

/// A credential, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Auth {
    /// Header name in lower case.
    pub header: String,
    /// `Bearer`, `token`, `Basic`, or none.
    pub scheme: Option<String>,
    /// The name that the token goes by: the host's variable, if it comes from one.
    pub token_ref: String,
    /// Where the value comes from.
    pub source: TokenSource,
}

/// A proxy behind pipelock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parent {
    /// Its address.
    pub address: SocketAddr,
    /// PEM file with its signing authority.
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
    /// Allows commits and tags of other committers than [`Bottle::author`].
    pub other_committers: bool,
}

/// The identity of commits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Author {
    /// A name.
    pub name: String,
    /// An address.
    pub email: String,
}

impl Default for Author {
    /// A reserved address (RFC 2606, section 2).
    fn default() -> Self {
        Self { name: "agent".into(), email: "agent@bottle.invalid".into() }
    }
}

impl std::fmt::Display for Author {
    /// In git's format.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} <{}>", self.name, self.email)
    }
}

/// Scanning beyond the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scan {
    /// Files of rules in gitleaks' format.
    pub rules: Vec<PathBuf>,
    /// Scan responses for text that tries to instruct the agent.
    pub answers: bool,
    /// SHA-256 of values that are no secrets, in hexadecimal.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub allow: BTreeSet<String>,
}

/// Limits; `None` for the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of each file system in memory: the home directory and temporary files.
    pub scratch: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Wall-clock time after which the agent is stopped.
    pub time: Option<Duration>,
}

/// The source of the agent's root file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rootfs {
    /// A read-only view of the host's tools.
    #[default]
    Host,
    /// An OCI image archive.
    Image(PathBuf),
}
