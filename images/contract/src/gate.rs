//! The configuration of `git-gate`: `git-gate.json` in [`crate::names::CONFIG_DIR`].

use serde::{Deserialize, Serialize};

use crate::fingerprints::Fingerprints;
use crate::host::Host;
use crate::remote::RemoteUrl;
use crate::route::Auth;
use crate::rules::RuleFile;

/// The name of the file.
pub const FILE: &str = "git-gate.json";

/// The configuration of `git-gate`. It names secrets by slot and contains none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateConfig {
    /// The bottle's id, for events.
    pub bottle: String,
    /// Increases with each change. Events carry the generation that judged them.
    pub generation: u64,
    /// The repositories.
    pub repos: Vec<Repo>,
    /// The unix socket of `pipelock`, through which the gate reaches every upstream.
    pub link: String,
    /// PEM files with additional roots for upstreams over TLS.
    #[serde(default)]
    pub trust: Vec<String>,
    /// The bottle's secrets as fingerprints.
    #[serde(default)]
    pub fingerprints: Option<Fingerprints>,
    /// The operator's own rules, besides the built-in ones.
    #[serde(default)]
    pub rules: Vec<RuleFile>,
    /// SHA-256 of values that the operator's exceptions let pass, in hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excepted: Vec<String>,
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
    /// Its server.
    pub upstream: Remote,
    /// What may be pushed.
    #[serde(default)]
    pub push: PushPolicy,
}

/// A repository on its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Remote {
    /// Smart HTTP over TLS.
    Https {
        /// The server.
        host: Host,
        /// Its port.
        port: u16,
        /// The repository's path, with its leading slash.
        path: String,
        /// The credential to inject.
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
        /// The repository's path on the server.
        path: String,
        /// The server's public key, `algorithm base64`. There is no trust on first use.
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

/// What may be pushed to a repository; by default, nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushPolicy {
    /// Full ref names, each with at most one star, which matches any text but the empty one.
    pub allow: Vec<String>,
    /// Allows new refs.
    pub create: bool,
    /// Allows fast-forwards.
    pub update: bool,
    /// Allows other updates, and updates of tags.
    pub force: bool,
    /// Allows deletions.
    pub delete: bool,
    /// Allows push options, which some servers act on.
    pub options: bool,
    /// The only committer and tagger, `Name <address>`; none allows anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committer: Option<String>,
    /// The maximum size of a pack, in bytes.
    pub pack_bytes: u64,
    /// The maximum number of objects in a pack.
    pub objects: u64,
}

impl Default for PushPolicy {
    /// GitHub accepts 2 GiB in one push.
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

/// Limits of the gate. Times in milliseconds, sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateLimits {
    /// Concurrent connections from the agent.
    pub connections: usize,
    /// Concurrent pushes; others are asked to retry.
    pub pushes: usize,
    /// Refs that one push may change.
    pub commands: usize,
    /// All packs in quarantine together.
    pub quarantine_bytes: u64,
    /// All objects of one pack together, inflated.
    pub inflated_bytes: u64,
    /// The base or the result of a delta.
    pub delta_bytes: u64,
    /// Bases in memory at the same time while deltas are applied.
    pub held_bytes: u64,
    /// All commits, tags and trees of one pack together, inflated.
    pub history_bytes: u64,
    /// The length of a chain of deltas. Git produces at most 4095.
    pub delta_depth: u32,
    /// The size of a fetch request.
    pub fetch_request_bytes: usize,
    /// Idle time of a push or of upstream.
    pub idle_ms: u64,
    /// From a pack's first byte to its verdict.
    pub inspect_ms: u64,
    /// From the verdict to upstream's report: the transfer, and upstream's own work.
    pub forward_ms: u64,
    /// Connecting to upstream: tunnel, handshake and login.
    pub connect_ms: u64,
}

impl Default for GateLimits {
    /// The quarantine is in memory. The trees and commits of an honest repository are a small part of it.
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
