//! The configuration of `pipelock`: `pipelock.yaml` in [`crate::names::CONFIG_DIR`], written as JSON, which is YAML.
//!
//! The top-level keys are a subset of the schema of the upstream program of this name. Our own keys are under `x_bottle`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::fingerprints::Fingerprints;
use crate::host::{Host, HostPattern};
use crate::route::{OnSecret, PathRule};
use crate::rules::RuleFile;

/// The name of the file.
pub const FILE: &str = "pipelock.yaml";

/// The configuration of `pipelock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelockConfig {
    /// Always 1.
    pub version: u32,
    /// Always `strict`: unlisted hosts are refused.
    pub mode: String,
    /// Always true: there is no warn mode.
    pub enforce: bool,
    /// The hosts that may be dialled.
    pub api_allowlist: Vec<HostPattern>,
    /// The proxy itself.
    pub forward_proxy: Switch,
    /// Where it listens for the agent. The socket itself is passed in.
    pub fetch_proxy: FetchProxy,
    /// Interception for an agent that dials pipelock directly; off behind `egress`.
    pub tls_interception: TlsInterception,
    /// Scanning of request bodies.
    pub request_body_scanning: BodyScanning,
    /// Scans responses for text that tries to instruct the agent. Findings are recorded, never refused.
    pub response_scanning: Switch,
    /// The built-in rules.
    pub dlp: Dlp,
    /// Exceptions from the guard against private addresses.
    pub ssrf: Ssrf,
    /// Always off: nothing is reported anywhere.
    pub sentry: Switch,
    /// Our own keys; upstream's schema has none of them.
    #[serde(default)]
    pub x_bottle: Extension,
}

impl PipelockConfig {
    /// A configuration that allows nothing: the base of every other.
    pub fn closed(bottle: &str) -> Self {
        Self {
            version: 1,
            mode: "strict".to_owned(),
            enforce: true,
            api_allowlist: Vec::new(),
            forward_proxy: Switch { enabled: true },
            fetch_proxy: FetchProxy { listen: format!("{}:{}", crate::names::PIPELOCK.0, crate::names::PIPELOCK.1) },
            tls_interception: TlsInterception { enabled: false, ca_cert: String::new(), ca_key: String::new() },
            request_body_scanning: BodyScanning { enabled: true, action: "block".to_owned() },
            response_scanning: Switch { enabled: false },
            dlp: Dlp { include_defaults: true },
            ssrf: Ssrf { ip_allowlist: Vec::new() },
            sentry: Switch { enabled: false },
            x_bottle: Extension { bottle: bottle.to_owned(), generation: 1, ..Extension::default() },
        }
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// On.
    pub enabled: bool,
}

/// Where the proxy listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchProxy {
    /// `host:port` as the agent dials it.
    pub listen: String,
}

/// TLS interception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsInterception {
    /// On.
    pub enabled: bool,
    /// PEM file of the authority's certificate.
    pub ca_cert: String,
    /// PEM file of the authority's key.
    pub ca_key: String,
}

/// Body scanning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodyScanning {
    /// On.
    pub enabled: bool,
    /// Always `block`.
    pub action: String,
}

/// Data loss prevention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dlp {
    /// The built-in rules apply.
    pub include_defaults: bool,
}

/// Exceptions from the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ssrf {
    /// Non-public addresses that may be dialled; empty except in tests of a whole network.
    pub ip_allowlist: Vec<String>,
}

/// Keys that upstream's schema does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// The bottle's id, for events.
    pub bottle: String,
    /// Grows with each change.
    pub generation: u64,
    /// Ports that may be dialled at a host of the allowlist; hosts without a row have [`crate::route::DEFAULT_PORTS`].
    #[serde(default)]
    pub ports: Vec<Ports>,
    /// Hosts with a fixed address. For that host, only this address is exempt from the guard.
    #[serde(default)]
    pub connect: Vec<Connect>,
    /// PEM files with additional roots for origins.
    #[serde(default)]
    pub trust: Vec<String>,
    /// The only targets for which a sibling may open an opaque `CONNECT` tunnel.
    #[serde(default)]
    pub tunnels: Vec<Tunnel>,
    /// An ordinary proxy behind pipelock.
    #[serde(default)]
    pub parent: Option<Parent>,
    /// The bottle's secrets as fingerprints.
    #[serde(default)]
    pub fingerprints: Option<Fingerprints>,
    /// The operator's own rules, besides the built-in ones.
    #[serde(default)]
    pub rules: Vec<RuleFile>,
    /// SHA-256 of values that the operator's exceptions let pass, in hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excepted: Vec<String>,
    /// What happens to a secret in a request's body; where no row fits, the request is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_secret: Vec<OnSecretAt>,
    /// Limits.
    #[serde(default)]
    pub limits: Limits,
}

/// What happens to a secret in the body of a request to a host. Of several rows that fit a host, the narrowest counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnSecretAt {
    /// The host.
    pub host: HostPattern,
    /// What happens.
    pub action: OnSecret,
    /// The paths where it does; elsewhere the request is refused. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathRule>,
}

/// The ports of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// The host.
    pub host: HostPattern,
    /// Its ports.
    pub ports: Vec<u16>,
}

/// A host with a fixed address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    /// The host or hosts.
    pub host: HostPattern,
    /// The address to dial, whatever port the URL names.
    pub address: SocketAddr,
}

/// A target of opaque tunnels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tunnel {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// The address to dial instead of resolving the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
}

/// A proxy behind pipelock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Its address, `ADDR:PORT`, which is exempt from the guard.
    pub address: SocketAddr,
    /// A PEM file with its signing authority, if it intercepts.
    #[serde(default)]
    pub ca: Option<String>,
}

/// Limits of both proxies. Times in milliseconds, sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Concurrent connections from the agent.
    pub connections: usize,
    /// A request's head.
    pub head_bytes: usize,
    /// Header fields of a request.
    pub headers: usize,
    /// A request's body.
    pub body_bytes: u64,
    /// From the start of a connection or the end of the last response to the end of a request's head.
    pub head_ms: u64,
    /// A TLS handshake, on either side.
    pub handshake_ms: u64,
    /// Name resolution and connection to the origin.
    pub connect_ms: u64,
    /// Idle time in both directions while a message is in transit.
    pub idle_ms: u64,
}

impl Default for Limits {
    /// A model may think for ten minutes before its first byte.
    fn default() -> Self {
        Self {
            connections: 1024,
            head_bytes: 64 * 1024,
            headers: 500,
            body_bytes: 4 << 30,
            head_ms: 30_000,
            handshake_ms: 10_000,
            connect_ms: 10_000,
            idle_ms: 600_000,
        }
    }
}
