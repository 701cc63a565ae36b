//! Everything that can be said on the socket.

use serde::{Deserialize, Serialize};

use super::asks_command::{AnswerResult, AskList};
use super::grant_command::GrantRoute;
use super::policy_command::PolicyInForce;
use super::reload_command::{Reload, ReloadResult};
use crate::asks::Decision;
use crate::error::Error;

/// What an operator asks of a running bottle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What the bottle reaches now.
    Policy,
    /// Reads the manifests again.
    Reload(Reload),
    /// The questions that wait for a person.
    Asks,
    /// Answers one.
    Answer(Box<Decision>),
    /// Allows more, in this bottle alone.
    Grant(GrantRoute),
}

/// What the supervisor answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Response {
    /// To [`Request::Policy`].
    Policy(Box<PolicyInForce>),
    /// To [`Request::Reload`], if nothing is changed.
    Reload(ReloadResult),
    /// To [`Request::Asks`].
    Asks(AskList),
    /// To [`Request::Answer`].
    Answer(AnswerResult),
    /// To a request that changes the policy: every sidecar has acknowledged this generation.
    InForce {
        /// The generation.
        generation: u64,
    },
    /// To anything.
    Failed(Failure),
}

/// An error on its way to the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    what: String,
    cause: String,
    hint: String,
    code: u8,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { what: error.what, cause: error.cause.to_string(), hint: error.hint, code: error.code }
    }
}

impl Failure {
    /// The error as the supervisor reported it.
    pub fn into_error(self) -> Error {
        Error { code: self.code, ..Error::failed(self.what, self.cause, self.hint) }
    }
}
