//! The requests for the questions that wait for a person, and to answer one.

use serde::{Deserialize, Serialize};

use crate::asks::question::Shown;

/// The questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskList {
    /// Grows with each change of the list.
    pub revision: u64,
    /// The questions, the oldest first.
    pub asks: Vec<Shown>,
}

/// What came of a decision that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AnswerResult {
    /// The no is recorded, and whoever asked has been told.
    Denied,
    /// It is allowed: every sidecar has acknowledged it.
    Granted {
        /// The policy's generation.
        generation: u64,
    },
}
