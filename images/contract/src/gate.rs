//! The configuration of `git-gate`: `git-gate.json` in [`crate::names::CONFIG_DIR`].

use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::remote::RemoteUrl;
use crate::route::Auth;
use crate::rules::RuleFile;

/// The name of the file.
pub const FILE: &str = "git-gate.json";

/// What `git-gate` enforces. It names secrets by slot and never holds one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateConfig {
    /// The bottle's id, for events.
    pub bottle: String,
    /// Grows with each change; events name the generation that judged them.
    pub generation: u64,
    /// The repositories.
    pub repos: Vec<Repo>,
    /// The unix socket of `pipelock`, through which every upstream is reached.
    pub link: String,
    /// PEM files with further roots for upstreams over TLS.
    #[serde(default)]
    pub trust: Vec<String>,
    /// The bottle's secrets as keyed fingerprints, by which they are recognised and from which they cannot be read.
    #[serde(default)]
    pub fingerprints: serde_json::Value,
    /// Further rules of the operator's, beside the built-in ones.
    #[serde(default)]
    pub rules: Vec<RuleFile>,
    /// Limits.
    #[serde(default)]
    pub limits: GateLimits,
}

/// One repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repo {
    /// Its name at the gate: the agent's URL is `http://git-gate:9420/NAME.git`.
    pub name: String,
    /// Where it really is.
    pub upstream: Remote,
    /// What may be pushed.
    #[serde(default)]
    pub push: PushPolicy,
}

/// A repository at its own server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Remote {
    /// Smart HTTP over TLS.
    Https {
        /// The server.
        host: Host,
        /// Its port.
        port: u16,
        /// The repository's path, from the first slash on.
        path: String,
        /// The credential to put in.
        #[serde(default)]
        auth: Option<Auth>,
    },
    /// SSH.
    Ssh {
        /// The server.
        host: Host,
        /// Its port.
        port: u16,
        /// The user to log in as.
        user: String,
        /// The repository's path, as the server is to read it.
        path: String,
        /// The server's public key, `algorithm base64`. There is no first use.
        host_key: String,
        /// The file in [`crate::names::SECRETS_DIR`] that holds the private key.
        identity: String,
    },
}

impl Remote {
    /// Where a browser finds it, without `.git`.
    pub fn page(&self) -> String {
        let (host, port, path) = match self {
            Self::Https { host, port, path, .. } => (host, Some(*port).filter(|port| *port != RemoteUrl::HTTPS_PORT), path),
            // The port of SSH says nothing about that of HTTPS.
            Self::Ssh { host, path, .. } => (host, None, path),
        };
        let port = port.map_or(String::new(), |port| format!(":{port}"));
        format!("https://{host}{port}{}", path.strip_suffix(".git").unwrap_or(path))
    }

    /// The server and its port: the target of a tunnel.
    pub fn target(&self) -> (&Host, u16) {
        match self {
            Self::Https { host, port, .. } | Self::Ssh { host, port, .. } => (host, *port),
        }
    }
}

/// What may be pushed to a repository. The default is: nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushPolicy {
    /// Full ref names, each with at most one star, which stands for any text that is not empty.
    pub allow: Vec<String>,
    /// Refs that upstream does not have.
    pub create: bool,
    /// Fast-forwards of refs that upstream has.
    pub update: bool,
    /// Other updates, and every update of a tag.
    pub force: bool,
    /// Deletions.
    pub delete: bool,
    /// Push options, which some servers act on.
    pub options: bool,
    /// Whom every commit's committer and every tag's tagger must name, `Name <address>`; none: anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committer: Option<String>,
    /// Bytes of a pack.
    pub pack_bytes: u64,
    /// Objects of a pack.
    pub objects: u64,
}

impl Default for PushPolicy {
    /// 2 GiB is what GitHub takes in one push.
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            create: true,
            update: true,
            force: false,
            delete: false,
            options: false,
            committer: None,
            pack_bytes: 2 << 30,
            objects: 1_000_000,
        }
    }
}

/// Bounds of the gate. Times in milliseconds, sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateLimits {
    /// Connections from the agent at one time.
    pub connections: usize,
    /// Pushes at one time; more are told to come again.
    pub pushes: usize,
    /// Refs that one push may change.
    pub commands: usize,
    /// All packs in quarantine together.
    pub quarantine_bytes: u64,
    /// All objects of one pack together, inflated.
    pub inflated_bytes: u64,
    /// One object that a delta is made from, or that one makes.
    pub delta_bytes: u64,
    /// Objects that are held at one time while deltas are resolved.
    pub held_bytes: u64,
    /// All commits, tags and trees of one pack together, inflated.
    pub history_bytes: u64,
    /// Deltas upon deltas. Git itself makes at most 4095.
    pub delta_depth: u32,
    /// What a client may say in one request to fetch.
    pub fetch_request_bytes: usize,
    /// Without a byte of a push or from upstream.
    pub idle_ms: u64,
    /// From a pack's first byte to its verdict.
    pub inspect_ms: u64,
    /// From a verdict to upstream's report: the transfer, and whatever upstream does before it answers.
    pub forward_ms: u64,
    /// A connection to upstream: tunnel, handshake, login.
    pub connect_ms: u64,
}

impl Default for GateLimits {
    /// The quarantine is in memory; an honest repository's trees and commits are a small part of it.
    fn default() -> Self {
        Self {
            connections: 256,
            pushes: 32,
            commands: 10_000,
            quarantine_bytes: 4 << 30,
            inflated_bytes: 16 << 30,
            delta_bytes: 256 << 20,
            held_bytes: 1 << 30,
            history_bytes: 512 << 20,
            delta_depth: 4095,
            fetch_request_bytes: 16 << 20,
            idle_ms: 120_000,
            inspect_ms: 600_000,
            forward_ms: 1_800_000,
            connect_ms: 30_000,
        }
    }
}
