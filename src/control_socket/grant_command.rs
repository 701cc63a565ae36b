//! The request of an operator to allow more in one running bottle, beside its manifest.

use bottle_contract::route::Route;
use serde::{Deserialize, Serialize};

/// Allows more, until it ends or the bottle does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRoute {
    /// What is allowed; without a credential.
    pub route: Route,
    /// How long, in seconds.
    pub seconds: Option<u64>,
    /// How many requests.
    pub uses: Option<u64>,
}
