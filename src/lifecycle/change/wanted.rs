//! A change as it is asked for, and why it may come to nothing.

use std::time::Duration;

use bottle_contract::Grant;

use crate::control_socket::ClientId;
use crate::error::Error;
use crate::plan::Blueprint;

/// What is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The manifests say something else.
    Manifest(Box<Blueprint>),
    /// More is allowed, beside the routes.
    Grant(Lease),
    /// What a grant has opened is closed.
    Withdraw(String),
}

/// A grant, and how long it lasts at most. It ends with the bottle in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// The grant; its id must never have been used in this bottle.
    pub(crate) grant: Grant,
    /// From when it is in force; time in which the machine is suspended counts. Without it, as long as the bottle runs.
    pub(crate) lasts: Option<Duration>,
}

/// Who asked for a change, and is told what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Requester {
    /// A command of the operator's.
    Client(ClientId),
    /// The answer to a question, by its name.
    Ask(String),
    /// The end of a grant.
    End,
}

/// Why a policy was not changed. The old one is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PolicyError {
    /// The bottle does not run: it starts, or ends.
    NotRunning,
    /// Too many changes wait already.
    Busy,
    /// These cannot change while it runs, by their keys in the manifest.
    Fixed(Vec<String>),
    /// The id of a grant was used before, or there is no such grant.
    Grant(String),
    /// A sidecar refused it, did not acknowledge it, or could not be given it.
    Failed(Error),
}

impl PolicyError {
    /// As the operator reads it.
    pub(crate) fn for_operator(&self, id: &str, agent: &str) -> Error {
        let what = format!("the policy of `{id}` was not changed");
        match self {
            Self::NotRunning => Error::failed(what, "the bottle starts, or ends", "`bottle list` shows when it runs"),
            Self::Busy => Error::failed(what, "other changes wait already", "try again"),
            Self::Fixed(keys) => {
                let cause = format!("cannot change while a bottle runs: {}", keys.join("; "));
                Error::usage(what, cause, format!("`bottle stop {id}`, then `bottle start {agent}`"))
            }
            Self::Grant(grant) => {
                Error::usage(what, format!("the grant `{grant}` is not one that can be used"), "give each grant an id of its own")
            }
            Self::Failed(error) => error.clone(),
        }
    }
}
