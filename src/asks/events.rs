//! What the queue of questions takes, and what it says is to be done.

use bottle_contract::ask::HeldRequest;
use bottle_contract::grant::Grant;
use bottle_contract::supervise::{Proposal, Reply};

use super::ask_journal::Record;
use crate::manifest::model::Route;

/// How a bottle asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The bottle's id.
    pub bottle: String,
    /// Somebody may answer. Otherwise nothing is asked.
    pub attended: bool,
    /// Its routes, as its manifest says.
    pub routes: Vec<Route>,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A sidecar holds a request. The nonce is drawn for it.
    Held(u64, Box<HeldRequest>, String),
    /// The agent proposes a route. The nonce is drawn for it.
    Proposed(u64, Proposal, String),
    /// A client wants to know how a question stands, now and when it is closed.
    Followed(u64, String),
    /// A client was told to come back.
    Released(u64),
    /// A client has left.
    Left(u64),
    /// Every sidecar has the grant of [`Effect::Grant`], in the policy of this generation.
    Granted(String, u64),
    /// The grant of [`Effect::Grant`] is not in force.
    NotGranted(String, String),
    /// A grant is no longer in force: its time or its requests are used up, or it was withdrawn.
    Ended(String),
    /// The manifest's routes are others now, and are in force.
    PolicyChanged(Vec<Route>),
    /// Time has passed.
    Tick,
}

/// What it leads to, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// On disk, before anything that follows.
    Journal(Record),
    /// A client hears this.
    Tell(u64, Reply),
    /// This grant is to be in force, for so many seconds. What became of it comes as [`Input::Granted`] or [`Input::NotGranted`], and its
    /// end as [`Input::Ended`].
    Grant(Grant, Option<u64>),
    /// This grant is to end.
    Withdraw(String),
    /// A new question waits for a person.
    Notify,
}
