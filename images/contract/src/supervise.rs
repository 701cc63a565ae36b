//! `supervise`: its configuration, and its conversation with the supervisor. One JSON value a line; each has the number of the client that
//! it is about.

use serde::{Deserialize, Serialize};

use crate::ask::{HeldRequest, ToHolder};
use crate::reason::Reason;

/// The name of the configuration file in [`crate::names::CONFIG_DIR`].
pub const FILE: &str = "supervise.json";
/// Characters of a reason, the agent's or a person's.
pub const MAX_REASON_CHARS: usize = 500;
/// Methods or paths of one proposal.
pub const MAX_LIST: usize = 16;
/// Refusals that are remembered, and that one call shows.
pub const MAX_DENIALS: usize = 50;

/// The configuration of `supervise`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuperviseConfig {
    /// The bottle's id, for events.
    pub bottle: String,
}

/// What the agent proposes: a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// The host, as it was written.
    pub host: String,
    /// The port; 443 without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The methods.
    pub methods: Vec<String>,
    /// Paths; one that ends with `/` includes all below it.
    pub paths: Vec<String>,
    /// The agent's reason.
    pub reason: String,
}

/// A request that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denial {
    /// RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// Which sidecar refused.
    pub component: String,
    /// The method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Scheme, host and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why.
    pub reason: Reason,
}

/// How a question stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskState {
    /// Nobody has answered yet.
    Open,
    /// A person has said yes, and the policy is being changed.
    Granting,
    /// It is allowed now.
    Granted,
    /// A person has said no.
    Denied,
    /// Nobody has answered in time.
    Expired,
    /// Whoever asked has left.
    Withdrawn,
    /// The policy has changed: another question stands in its place, or none is needed.
    Superseded,
    /// It was granted, and the grant has ended.
    Ended,
    /// A person has said yes, and the policy could not be changed.
    Failed,
}

/// What the supervisor is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToSupervisor {
    /// A sidecar holds a request.
    Ask(HeldRequest),
    /// The agent proposes a route.
    Propose(Proposal),
    /// How does this question stand? Answered at once, and again when it is closed.
    Follow {
        /// As in `web.3`.
        ask: String,
    },
    /// The newest refusals.
    Denials {
        /// How many.
        last: usize,
    },
    /// The client was told to come back.
    Released,
    /// The client has left.
    Left,
}

/// A message of one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromClient {
    /// Its number, never used twice.
    pub client: u64,
    /// What it says.
    pub says: ToSupervisor,
}

/// What a client hears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// For a sidecar that holds a request.
    Held(ToHolder),
    /// How a question stands, and what the person said.
    State {
        /// As in `web.3`.
        ask: String,
        /// How it stands.
        state: AskState,
        /// The person's reason, or why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// What was proposed is not asked, or the question is not known: one sentence.
    Refused(String),
    /// Refusals, the newest last.
    Denials(Vec<Denial>),
}

/// A message to one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToClient {
    /// Its number.
    pub client: u64,
    /// What it hears.
    pub hears: Reply,
}
