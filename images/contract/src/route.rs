//! Routes: which host, method and path the agent may reach, and which credential is put in.

use serde::{Deserialize, Serialize};

use crate::host::HostPattern;

/// The ports of a route without a port: HTTPS and HTTP.
pub const DEFAULT_PORTS: [u16; 2] = [443, 80];

/// A route that `egress` enforces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The hosts.
    pub host: HostPattern,
    /// The ports.
    pub ports: Vec<u16>,
    /// The allowed methods and paths. Empty: all.
    #[serde(default)]
    pub matches: Vec<Match>,
    /// The credential to inject.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// A person is asked about what `matches` does not allow. Without matches, nothing is allowed unasked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ask: bool,
}

/// A set of methods and paths; a request must fit both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Upper-case method names. Empty: every method.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Paths in canonical form. Empty: every path.
    #[serde(default)]
    pub paths: Vec<PathRule>,
}

/// A path, or a prefix of paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathRule {
    /// This path only.
    Exact(String),
    /// This path, which ends with a slash, and all paths below it.
    Prefix(String),
}

impl PathRule {
    /// True when the rule names this canonical path.
    pub fn fits(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
        }
    }
}

/// Which credential to send, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The header's name in lower case, `authorization` unless the manifest names another.
    pub header: String,
    /// The scheme before the value, such as `Bearer`; none for headers like `x-api-key`. `Basic` takes a token of the
    /// form `user:password` and encodes it (RFC 7617).
    #[serde(default)]
    pub scheme: Option<String>,
    /// The file in [`crate::names::SECRETS_DIR`] that holds the value.
    pub slot: String,
}

/// What happens to a secret in the body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSecret {
    /// The request is refused.
    Refuse,
    /// The secret is replaced by a placeholder of its length, if it stands whole in one string of JSON; otherwise the request is refused.
    Redact,
}
