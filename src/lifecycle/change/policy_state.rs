//! What is in force, what is on its way, and what waits for its turn.

use std::collections::VecDeque;

use bottle_contract::Fingerprints;

use super::grants::Grants;
use super::swap::Swap;
use super::wanted::{Change, Requester};
use crate::error::Result;
use crate::plan::{Blueprint, Plan};

/// Changes that may wait.
const MAX_WAITING: usize = 64;

/// Where the policy of a bottle comes from.
pub struct Source<'r> {
    /// What it was planned from at the start.
    pub blueprint: Blueprint,
    /// Reads the manifests again, for the same bottle.
    pub reread: &'r dyn Fn(&Blueprint) -> Result<Blueprint>,
}

/// A change, and who asked for it.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) change: Change,
    pub(crate) requester: Requester,
}

/// What a change makes of the policy.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) plan: Plan,
    pub(crate) blueprint: Blueprint,
    pub(crate) grants: Grants,
}

/// A change that is on its way.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) swap: Swap,
    pub(crate) next: Next,
    pub(crate) requester: Requester,
}

/// The policy of a running bottle.
pub(crate) struct PolicyState<'r> {
    /// Where it comes from.
    pub(crate) source: Source<'r>,
    /// What it was made from.
    pub(crate) in_force: Next,
    /// The number that every sidecar has acknowledged.
    pub(crate) generation: u64,
    /// What is written into the configurations of sidecars that recognise secrets.
    pub(crate) fingerprints: Option<Fingerprints>,
    /// On its way.
    pub(crate) under_way: Option<UnderWay>,
    waiting: VecDeque<Wanted>,
    /// How often in a row the end of a grant could not be enforced.
    pub(crate) failed_ends: u32,
}

impl<'r> PolicyState<'r> {
    /// Of a bottle that starts.
    pub(crate) fn new(source: Source<'r>, plan: &Plan, fingerprints: Option<Fingerprints>) -> Self {
        let in_force = Next { plan: plan.clone(), blueprint: source.blueprint.clone(), grants: Grants::default() };
        Self { source, in_force, generation: 1, fingerprints, under_way: None, waiting: VecDeque::new(), failed_ends: 0 }
    }

    /// Puts a change behind the others; false if too many wait. An end is never turned away.
    pub(crate) fn push(&mut self, wanted: Wanted) -> bool {
        let has_room = self.waiting.len() < MAX_WAITING || wanted.requester == Requester::End;
        if has_room {
            self.waiting.push_back(wanted);
        }
        has_room
    }

    /// The next change, if none is on its way.
    pub(crate) fn pop(&mut self) -> Option<Wanted> {
        if self.under_way.is_some() { None } else { self.waiting.pop_front() }
    }

    /// All that wait: the bottle ends.
    pub(crate) fn give_up(&mut self) -> Vec<Requester> {
        let under_way = self.under_way.take().map(|under_way| under_way.requester);
        under_way.into_iter().chain(self.waiting.drain(..).map(|wanted| wanted.requester)).collect()
    }

    /// When the next grant ends that is not being withdrawn already.
    pub(crate) fn next_end(&self) -> Option<u64> {
        self.in_force.grants.next_end(|id| !self.withdraws(id))
    }

    /// True if this withdrawal waits already, or is on its way.
    pub(crate) fn withdraws(&self, id: &str) -> bool {
        let waits = self.waiting.iter().any(|wanted| wanted.change == Change::Withdraw(id.to_owned()));
        waits
            || self
                .under_way
                .as_ref()
                .is_some_and(|under_way| under_way.next.grants.without(id).is_none() && self.in_force.grants.without(id).is_some())
    }
}
