//! Grants: routes that were approved for a running bottle, beside its table.

use serde::{Deserialize, Serialize};

use crate::route::Route;

/// A grant. It only adds to what the table allows, and it brings no credential of its own: where the table's route for the host sends one,
/// requests that a grant allows carry it too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Names the grant in events, and is never used twice in a bottle.
    pub id: String,
    /// What it allows; without `auth`.
    pub route: Route,
    /// How many requests it allows; without a number, any. Time is kept by the supervisor, which withdraws the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u64>,
}
