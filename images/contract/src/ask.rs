//! Questions for a person: what a sidecar asks through `supervise`, and what it hears. One JSON value a line.

use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// Bytes of a line in either direction, its newline included.
pub const MAX_LINE: usize = 64 * 1024;

/// A request that waits for an answer. It has not been sent, and no name has been looked up for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldRequest {
    /// Which sidecar holds it.
    pub component: String,
    /// Names it in the timeline.
    pub request_id: String,
    /// The generation of the policy that does not allow it.
    pub generation: u64,
    /// Why it is not allowed.
    pub reason: Reason,
    /// The method.
    pub method: String,
    /// It is for an `https` URL.
    pub https: bool,
    /// The host, in canonical form.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The canonical path, without the query.
    pub path: String,
    /// SHA-256 of the query, in lower-case hexadecimal digits. Never the query itself: it may hold a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_sha256: Option<String>,
    /// The names of the headers, sorted.
    pub headers: Vec<String>,
    /// Bytes of the body, as far as they are known: all of a small body, what a large one announces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
    /// SHA-256 of a small body, in lower-case hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_sha256: Option<String>,
}

/// What a sidecar says. The end of its connection without a [`FromHolder::Released`] withdraws the question: the client has left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromHolder {
    /// Asks. The first line of a connection, and the only one of its kind.
    Ask(Box<HeldRequest>),
    /// The client was told to come back: the question stays open without it.
    Released,
}

/// What it hears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToHolder {
    /// A person is asked, by this name of the question.
    Asked {
        /// As in `web.3`.
        ask: String,
    },
    /// Nobody is asked: no person attends, or too much is open already. The request is refused as it would have been.
    NotAsked,
    /// The policy in force now may allow it: judge it again.
    JudgeAgain,
    /// A person has said no.
    Denied {
        /// As in `web.3`.
        ask: String,
        /// The person's reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Nobody has answered in time.
    Expired {
        /// As in `web.3`.
        ask: String,
    },
}
