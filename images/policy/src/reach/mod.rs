//! What a bottle reaches: the policies of its sidecars as one value, with tokens by their names, so that two bottles can be compared.

mod beyond;
mod refs;
mod requests;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bottle_contract::egress::EgressConfig;
use bottle_contract::gate::{GateConfig, Remote, Repo};
use bottle_contract::grant::Grant;
use bottle_contract::host::HostPattern;
use bottle_contract::pipelock::{Connect, PipelockConfig};
use bottle_contract::route::Route;
use serde::{Deserialize, Serialize};

pub use beyond::beyond;

/// What a bottle reaches. Where the sidecars' configurations name the slot of a secret, this has the token's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reach {
    /// The routes.
    pub routes: Vec<Route>,
    /// What was approved beside them.
    pub grants: Vec<Grant>,
    /// Hosts with a fixed address.
    pub connect: Vec<Connect>,
    /// The proxy behind pipelock.
    pub parent: Option<SocketAddr>,
    /// The repositories at git-gate.
    pub repos: Vec<Repo>,
    /// The operator's own rules for secrets: the SHA-256 of each file, and its path.
    pub rules: BTreeMap<String, String>,
}

impl Reach {
    /// Of a bottle with these sidecars; `token` gives the name of the secret in a slot.
    pub fn of(egress: Option<&EgressConfig>, pipelock: &PipelockConfig, gate: Option<&GateConfig>, token: &dyn Fn(&str) -> String) -> Self {
        let named = |route: &Route| {
            let mut route = route.clone();
            if let Some(auth) = &mut route.auth {
                auth.slot = token(&auth.slot);
            }
            route
        };
        let repo = |repo: &Repo| {
            let mut repo = repo.clone();
            match &mut repo.upstream {
                Remote::Https { auth: Some(auth), .. } => auth.slot = token(&auth.slot),
                Remote::Https { auth: None, .. } => {}
                Remote::Ssh { identity, .. } => *identity = token(identity),
            }
            repo
        };
        let own = &pipelock.x_bottle;
        Self {
            routes: egress.iter().flat_map(|config| &config.routes).map(named).collect(),
            grants: egress.iter().flat_map(|config| &config.grants).cloned().collect(),
            connect: own.connect.clone(),
            parent: own.parent.as_ref().map(|parent| parent.address),
            repos: gate.iter().flat_map(|config| &config.repos).map(repo).collect(),
            rules: own.rules.iter().map(|file| (file.sha256.clone(), file.path.clone())).collect(),
        }
    }
}

/// One thing that a bottle reaches and another does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Excess {
    /// Requests, to hosts for which no narrower pattern has an entry of its own.
    Requests {
        /// The hosts.
        host: HostPattern,
        /// The ports.
        ports: Vec<u16>,
        /// What may be asked there.
        asks: Vec<Ask>,
        /// The credential that they carry over HTTPS.
        credential: Option<Credential>,
    },
    /// A credential that is sent with requests which are allowed anyway.
    Credential {
        /// The hosts.
        host: HostPattern,
        /// The ports.
        ports: Vec<u16>,
        /// The credential.
        credential: Credential,
    },
    /// Another way to hosts.
    Way {
        /// The hosts.
        host: HostPattern,
        /// The address that is dialled; without one, those that the name resolves to.
        address: Option<SocketAddr>,
    },
    /// The proxy behind pipelock; without one, origins are dialled.
    Parent(Option<SocketAddr>),
    /// A repository.
    Repository {
        /// Its name at the gate.
        name: String,
        /// Where a browser finds it.
        page: String,
        /// The refs that may be pushed.
        refs: Vec<String>,
    },
    /// More may be done to a repository.
    Push {
        /// Its name at the gate.
        name: String,
        /// Refs that may be pushed.
        refs: Vec<String>,
        /// What else, in words.
        also: Vec<String>,
    },
    /// Rules for secrets that do not apply.
    Unscanned {
        /// The file with the rules.
        rules: String,
    },
}

/// Methods, and the paths that they may be used for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Ask {
    /// The methods. Empty: every one.
    pub methods: Vec<Method>,
    /// The paths.
    pub paths: Vec<Paths>,
}

/// A method, or all that no route names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// This one.
    Named(String),
    /// Every other.
    Other,
}

/// A set of paths.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Paths {
    /// Every path.
    All,
    /// This path.
    Exact(String),
    /// All paths that begin so.
    Prefix(String),
    /// Paths that servers read in different ways, which only a route without paths lets pass.
    Ambiguous,
}

/// A credential, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Credential {
    /// The token.
    pub token: String,
    /// The header.
    pub header: String,
}
