//! The request for the policy in force.

use bottle_policy::reach::Reach;
use serde::{Deserialize, Serialize};

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyInForce {
    /// Its number.
    pub generation: u64,
    /// What it lets the bottle reach.
    pub reach: Reach,
}
