//! The key `egress`, and those below it.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::manifest::env;
use crate::yaml::{At, written, written_list};

/// The network access of an agent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// Lists of hosts by name: `agent` (what the agent's own program needs), `npm`, `pypi`, `crates`, `go`, `maven`, `rubygems`, `github`,
    /// `gitlab`, `debian`, `huggingface`.
    #[serde(default, deserialize_with = "written_list")]
    pub presets: Option<Vec<At<String>>>,
    /// The hosts. What no route names is refused. They add to the parent's; one of the same host replaces it. Written empty: nothing.
    #[serde(default, deserialize_with = "written_list")]
    pub routes: Option<Vec<At<Route>>>,
    /// What becomes of a request that no route allows: `deny`, the default, or `ask` a person (see `supervise`).
    #[serde(default, deserialize_with = "written")]
    pub default: Option<At<EgressDefault>>,
    /// True when nothing of the parent's routes and presets counts.
    #[serde(default, deserialize_with = "written")]
    pub replace: Option<At<bool>>,
    /// PEM files with further roots for origins.
    #[serde(default, deserialize_with = "written_list")]
    pub trust: Option<Vec<At<String>>>,
    /// A proxy for all requests.
    #[serde(default, deserialize_with = "written")]
    pub proxy: Option<Proxy>,
}

/// What becomes of a request that no route allows.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EgressDefault {
    /// It is refused.
    Deny,
    /// A person is asked.
    Ask,
}

/// A host, with its allowed methods and paths.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// `name`, `*.suffix` (quoted: YAML reads a star as an alias) or an address, with `:port`; ports 443 and 80 without one.
    pub host: At<String>,
    /// Allowed methods and paths. Without it: all.
    #[serde(default, deserialize_with = "written_list")]
    #[schemars(length(min = 1))]
    pub matches: Option<Vec<At<Match>>>,
    /// The credential that the proxy injects. The agent never sees it.
    #[serde(default, deserialize_with = "written")]
    pub auth: Option<At<Auth>>,
    /// `address:port` to dial for this host, instead of what its name resolves to.
    #[serde(default, deserialize_with = "written")]
    pub connect: Option<At<String>>,
    /// What happens when the body of a request holds a secret: `refuse` the request, or `redact` the secret, which then is replaced by a
    /// placeholder of its length if it stands whole in one string of JSON. Without it: `redact` for the conversations of known models' APIs,
    /// else `refuse`.
    #[serde(default, deserialize_with = "written")]
    pub on_secret: Option<At<OnSecret>>,
    /// True if a person is asked about what `matches` does not allow (see `supervise`). Without `matches`, nothing is allowed unasked.
    #[serde(default, deserialize_with = "written")]
    pub ask: Option<At<bool>>,
}

/// What happens to a secret in the body of a request.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnSecret {
    /// The request is refused.
    Refuse,
    /// The secret is replaced by a placeholder, or else the request is refused.
    Redact,
}

/// Methods and paths; a request must fit both.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Method names, upper case. Without it: every method.
    #[serde(default, deserialize_with = "written_list")]
    #[schemars(length(min = 1))]
    pub methods: Option<Vec<At<String>>>,
    /// Paths. One that ends with `/` includes all paths below it. Without it: every path.
    #[serde(default, deserialize_with = "written_list")]
    #[schemars(length(min = 1))]
    pub paths: Option<Vec<At<String>>>,
}

/// A credential, by name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The header; `authorization` by default.
    #[serde(default, deserialize_with = "written")]
    pub header: Option<At<String>>,
    /// The scheme before the value: `Bearer`, `token`, `Basic` (the value is `user:password`), or `none`. By default `Bearer` for
    /// `authorization`, and none for any other header.
    #[serde(default, deserialize_with = "written")]
    pub scheme: Option<At<String>>,
    /// The name of the host's environment variable that holds the value. Never the value itself.
    #[serde(default, deserialize_with = "written")]
    #[schemars(extend("pattern" = env::PATTERN))]
    pub token_ref: Option<At<String>>,
    /// A file with the value, instead: the token alone, or `{"token": "…", "expires_at": "…"}`.
    #[serde(default, deserialize_with = "written")]
    pub token_file: Option<At<String>>,
    /// A program that prints the value, instead, in the same form. It runs outside of the bottle, without a terminal, for 30 seconds at most.
    #[serde(default, deserialize_with = "written")]
    pub token_command: Option<At<Vec<At<String>>>>,
    /// The provider whose login on this machine is used, instead: `claude`.
    #[serde(default, deserialize_with = "written")]
    pub login: Option<At<String>>,
}

/// A proxy for all requests.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// `address:port`.
    pub address: At<String>,
    /// PEM file with its signing authority, if it intercepts.
    #[serde(default, deserialize_with = "written")]
    pub ca: Option<At<String>>,
}

/// An empty `egress:` denies everything, even if a parent allows something.
pub(super) fn written_egress<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Egress>, D::Error> {
    let written = Option::<Egress>::deserialize(deserializer)?;
    let says_something = |egress: &Egress| {
        let Egress { presets, routes, default, replace, trust, proxy } = egress;
        let has_reach = presets.is_some() || routes.is_some() || default.is_some();
        has_reach || replace.is_some() || trust.is_some() || proxy.is_some()
    };
    let nothing = Egress { presets: None, routes: Some(Vec::new()), default: None, replace: None, trust: None, proxy: None };
    Ok(Some(written.filter(says_something).unwrap_or(nothing)))
}
