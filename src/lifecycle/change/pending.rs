//! What is in force, what is on its way, and what waits for its turn.

use std::collections::VecDeque;

use bottle_contract::Fingerprints;

use super::swap::Swap;
use super::{Change, Grants, Requester};
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
pub(in crate::lifecycle) struct Wanted {
    pub(in crate::lifecycle) change: Change,
    pub(in crate::lifecycle) requester: Requester,
}

/// What a change makes of the policy.
#[derive(Debug)]
pub(in crate::lifecycle) struct Next {
    pub(in crate::lifecycle) plan: Plan,
    pub(in crate::lifecycle) blueprint: Blueprint,
    pub(in crate::lifecycle) grants: Grants,
}

/// A change that is on its way.
#[derive(Debug)]
pub(in crate::lifecycle) struct UnderWay {
    pub(in crate::lifecycle) swap: Swap,
    pub(in crate::lifecycle) next: Next,
    pub(in crate::lifecycle) requester: Requester,
}

/// The policy of a running bottle.
pub(in crate::lifecycle) struct Pending<'r> {
    /// Where it comes from.
    pub(in crate::lifecycle) source: Source<'r>,
    /// What it was made from.
    pub(in crate::lifecycle) in_force: Next,
    /// The number that every sidecar has acknowledged.
    pub(in crate::lifecycle) generation: u64,
    /// What is written into the configurations of sidecars that recognise secrets.
    pub(in crate::lifecycle) fingerprints: Option<Fingerprints>,
    /// On its way.
    pub(in crate::lifecycle) under_way: Option<UnderWay>,
    waiting: VecDeque<Wanted>,
    /// How often in a row the end of a grant could not be enforced.
    pub(in crate::lifecycle) failed_ends: u32,
}

impl<'r> Pending<'r> {
    /// Of a bottle that starts.
    pub(in crate::lifecycle) fn new(source: Source<'r>, plan: &Plan, fingerprints: Option<Fingerprints>) -> Self {
        let in_force = Next { plan: plan.clone(), blueprint: source.blueprint.clone(), grants: Grants::default() };
        Self { source, in_force, generation: 1, fingerprints, under_way: None, waiting: VecDeque::new(), failed_ends: 0 }
    }

    /// Puts a change behind the others; false if too many wait. An end is never turned away.
    pub(in crate::lifecycle) fn push(&mut self, wanted: Wanted) -> bool {
        let has_room = self.waiting.len() < MAX_WAITING || wanted.requester == Requester::End;
        if has_room {
            self.waiting.push_back(wanted);
        }
        has_room
    }

    /// The next change, if none is on its way.
    pub(in crate::lifecycle) fn pop(&mut self) -> Option<Wanted> {
        if self.under_way.is_some() { None } else { self.waiting.pop_front() }
    }

    /// All that wait: the bottle ends.
    pub(in crate::lifecycle) fn give_up(&mut self) -> Vec<Requester> {
        let under_way = self.under_way.take().map(|under_way| under_way.requester);
        under_way.into_iter().chain(self.waiting.drain(..).map(|wanted| wanted.requester)).collect()
    }

    /// When the next grant ends that is not being withdrawn already.
    pub(in crate::lifecycle) fn next_end(&self) -> Option<u64> {
        self.in_force.grants.next_end(|id| !self.withdraws(id))
    }

    /// True if this withdrawal waits already, or is on its way.
    pub(in crate::lifecycle) fn withdraws(&self, id: &str) -> bool {
        let waits = self.waiting.iter().any(|wanted| wanted.change == Change::Withdraw(id.to_owned()));
        waits
            || self
                .under_way
                .as_ref()
                .is_some_and(|under_way| under_way.next.grants.without(id).is_none() && self.in_force.grants.without(id).is_some())
    }
}
