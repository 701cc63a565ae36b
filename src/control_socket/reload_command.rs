//! The request to read the manifests again. It is made twice: first to see the difference, then with the digest of what was seen.

use serde::{Deserialize, Serialize};

/// Reads the manifests again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// The digest of the [`Difference`] that the operator has agreed to; without one, nothing is changed.
    pub agreed: Option<String>,
}

/// What the manifests say. What is agreed to is answered by [`super::Response::InForce`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ReloadResult {
    /// The manifests say what is in force.
    Same {
        /// The generation in force.
        generation: u64,
    },
    /// They say something else, which was not agreed to.
    Differs(Difference),
}

/// Another policy, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// What the bottle would reach and does not now; one line each, harmless for a terminal.
    pub more: Vec<String>,
    /// What it would not reach any more.
    pub less: Vec<String>,
    /// Binds an agreement to this very change: of the policy in force, and to the one that would follow.
    pub digest: String,
}
