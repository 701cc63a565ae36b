//! A question as a person sees it, and the hash that binds the answer to it.

use bottle_contract::ask::HeldRequest;
use bottle_contract::supervise::AskState;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::candidate::Candidate;
use super::canonical;
use super::scope::Scope;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A request that a sidecar holds.
    Request(Box<HeldRequest>),
    /// The agent itself, with its reason, which is plain text.
    Proposal(String),
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// As in `web.3`.
    pub ask: String,
    /// Who asks.
    pub source: Source,
    /// What is wanted.
    pub scope: Scope,
    /// What a yes would change.
    pub candidate: Candidate,
    /// Drawn for this question alone.
    pub nonce: String,
    /// When it was asked first, in milliseconds since boot.
    pub asked: u64,
    /// How often.
    pub count: u32,
}

/// A question as `bottle asks --json` prints it, and as the operator's programs read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// As in `web.3`.
    pub ask: String,
    /// Binds the answer to all of this.
    pub hash: String,
    /// How it stands.
    pub state: AskState,
    /// `request` or `proposal`.
    pub source: String,
    /// What a yes would open, one sentence for each thing.
    pub reach: Vec<String>,
    /// The row that a yes would put into the policy.
    pub yaml: String,
    /// True if a manifest's row can say exactly this, so that it can be kept for later bottles.
    pub can_be_written: bool,
    /// The host, which a person types if a credential goes there.
    pub host: String,
    /// The name of the credential that would be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The reason for which the request was not allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The agent's own words. They prove nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_says: Option<String>,
    /// How often it was asked.
    pub count: u32,
    /// Requests that wait for the answer now.
    pub held: usize,
    /// Seconds since it was asked.
    pub age: u64,
    /// Seconds until it expires.
    pub expires: u64,
}

impl Question {
    /// Binds an answer to the request and to the policy that results.
    pub fn hash(&self) -> String {
        canonical::digest(&json!({ "version": 1, "ask": self.ask, "nonce": self.nonce, "key": self.key() }))
    }

    /// Equal for equal questions under one policy.
    pub(super) fn key(&self) -> String {
        let bottle = self.ask.rsplit_once('.').map_or("", |(bottle, _)| bottle);
        canonical::digest(&json!({
            "bottle": bottle,
            "source": self.content(),
            "scope": self.scope,
            "candidate": self.candidate.digest(),
        }))
    }

    /// What was asked, without what names this one time.
    fn content(&self) -> Value {
        match &self.source {
            Source::Proposal(reason) => json!({ "kind": "proposal", "reason": reason }),
            Source::Request(request) => {
                let HeldRequest { component, reason, method, https, host, port, path, query_sha256, headers, .. } = &**request;
                json!({
                    "kind": "request", "component": component, "reason": reason, "method": method, "https": https, "host": host,
                    "port": port, "path": path, "query": query_sha256, "headers": headers,
                    "body": { "bytes": request.body_bytes, "sha256": request.body_sha256 },
                })
            }
        }
    }

    /// As a person sees it.
    pub(super) fn shown(&self, state: AskState, held: usize, now: u64, expires: u64) -> Shown {
        let seconds = |millis: u64| millis / 1000;
        let (source, refused, agent_says) = match &self.source {
            Source::Request(request) => ("request", Some(request.reason.slug().to_owned()), None),
            Source::Proposal(reason) => ("proposal", None, Some(reason.clone())),
        };
        Shown {
            ask: self.ask.clone(),
            hash: self.hash(),
            state,
            source: source.to_owned(),
            reach: self.candidate.words(),
            yaml: self.candidate.yaml(),
            host: self.scope.host.to_string(),
            credential: self.candidate.sends.as_ref().map(|(name, _)| name.clone()),
            can_be_written: self.candidate.can_be_written(),
            refused,
            agent_says,
            count: self.count,
            held,
            age: seconds(now.saturating_sub(self.asked)),
            expires: seconds(expires.saturating_sub(now)),
        }
    }
}
