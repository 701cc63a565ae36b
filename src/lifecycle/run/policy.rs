//! The policy of a running bottle, and how it is replaced.

use std::time::Instant;

use bottle_contract::event::{Event, Level};
use bottle_policy::reach::{self, Excess};

use super::Run;
use crate::asks::Input;
use crate::backend::reconfigure;
use crate::clock;
use crate::error::Error;
use crate::lifecycle::change::swap::{Step, Swap};
use crate::lifecycle::change::{Change, Next, PolicyError, Requester, UnderWay, Wanted};
use crate::lifecycle::state_machine::State;
use crate::plan::Plan;

/// How often the end of a grant is tried. Then the agent is stopped: what was to be closed may be open.
const MAX_FAILED_ENDS: u32 = 3;
/// Lines of a difference that the record names.
const MAX_RECORDED_LINES: usize = 50;

impl Run<'_> {
    /// Changes the policy. What comes of it is told in [`Self::changed`], once every sidecar has acknowledged the new generation, or is back at
    /// the old one; the error here is that the change does not even wait for its turn.
    pub(crate) fn change_policy(&mut self, change: Change, requester: Requester) -> Result<(), PolicyError> {
        if self.state() != State::Running {
            return Err(PolicyError::NotRunning);
        }
        if !self.policy.push(Wanted { change, requester }) {
            return Err(PolicyError::Busy);
        }
        self.begin_changes();
        Ok(())
    }

    /// Tells whoever asked for a change what came of it: the generation that is in force everywhere, or why the old one still is.
    fn changed(&mut self, requester: Requester, result: Result<u64, PolicyError>) {
        match requester {
            Requester::Client(id) => self.answer_change(id, result),
            Requester::Ask(ask) => self.grant_settled(ask, result),
            Requester::End => match result {
                Ok(_) => self.policy.failed_ends = 0,
                Err(PolicyError::Failed(error)) => {
                    self.policy.failed_ends += 1;
                    if self.policy.failed_ends >= MAX_FAILED_ENDS {
                        self.fail(error);
                    } else {
                        self.end_grants();
                    }
                }
                // It has ended already, or the bottle does.
                Err(_) => {}
            },
        }
    }

    /// The policies that are in force.
    pub(super) fn plan_in_force(&self) -> &Plan {
        &self.policy.in_force.plan
    }

    /// Withdraws the grants whose time is up.
    pub(super) fn end_grants(&mut self) {
        for id in self.policy.in_force.grants.ended(clock::boot_micros()) {
            self.withdraw(&id);
        }
        self.arm_grant_timer();
    }

    fn withdraw(&mut self, id: &str) {
        if !self.policy.withdraws(id) {
            // A bottle that ends closes everything.
            let _ = self.change_policy(Change::Withdraw(id.to_owned()), Requester::End);
        }
    }

    /// The timer is for the next end that nothing is done about yet.
    fn arm_grant_timer(&mut self) {
        if let Err(error) = self.grant_timer.arm(self.policy.next_end()) {
            self.fail(error);
        }
    }

    /// Takes what sidecars have said about their policies, and looks at the time.
    pub(super) fn hear_of_policy(&mut self) {
        let now = Instant::now();
        for (component, event) in self.records.take_heard() {
            let step = match (event.event.as_str(), self.policy.under_way.as_mut()) {
                ("reload", Some(under_way)) => under_way.swap.acknowledged(&component, event.generation.unwrap_or_default(), now),
                ("reload_failed", Some(under_way)) => under_way.swap.failed(&component, refusal(&component, &self.plan.id, event), now),
                ("grant_used_up", _) => {
                    if let Some(id) = event.rule.as_deref().and_then(|rule| rule.strip_prefix("grant:")) {
                        self.withdraw(id);
                    }
                    Step::Wait
                }
                _ => Step::Wait,
            };
            self.take_step(step);
        }
        if let Some(under_way) = &mut self.policy.under_way {
            let step = under_way.swap.tick(now);
            self.take_step(step);
        }
    }

    /// The bottle ends: no change comes to anything any more.
    pub(super) fn give_up_changes(&mut self) {
        for requester in self.policy.give_up() {
            self.changed(requester, Err(PolicyError::NotRunning));
        }
    }

    /// Begins the change that is next, if none is under way.
    fn begin_changes(&mut self) {
        while let Some(Wanted { change, requester }) = self.policy.pop() {
            match self.plan_change(change) {
                Err(error) => self.changed(requester, Err(error)),
                Ok(next) => {
                    let before = &self.policy.in_force.plan.sidecars;
                    let differs = |component: &str| {
                        let of =
                            |plan: &[crate::plan::SidecarPlan]| plan.iter().find(|s| s.component == component).map(|s| s.config.clone());
                        of(before) != of(&next.plan.sidecars)
                    };
                    let components: Vec<String> =
                        self.plan.sidecars.iter().map(|s| s.component.clone()).filter(|component| differs(component)).collect();
                    if components.is_empty() {
                        self.policy.in_force = next;
                        self.changed(requester, Ok(self.policy.generation));
                        continue;
                    }
                    let swap = Swap::new(self.policy.generation + 1, components, Instant::now());
                    let first = swap.first();
                    self.policy.under_way = Some(UnderWay { swap, next, requester });
                    self.take_step(first);
                }
            }
        }
    }

    /// What a change makes of the policy.
    fn plan_change(&self, change: Change) -> Result<Next, PolicyError> {
        let policy = &self.policy;
        let (mut blueprint, mut grants) = (policy.in_force.blueprint.clone(), policy.in_force.grants.clone());
        match change {
            Change::Manifest(next) => blueprint = *next,
            Change::Grant(lease) => {
                let refused = || PolicyError::Grant(lease.grant.id.clone());
                // A grant brings no credential, and sidecars refuse one that does.
                grants = grants.with(&lease, clock::boot_micros()).filter(|_| lease.grant.route.auth.is_none()).ok_or_else(refused)?;
            }
            Change::Withdraw(id) => grants = grants.without(&id).ok_or(PolicyError::Grant(id))?,
        }
        let plan =
            policy.source.blueprint.again(&blueprint, self.plan, policy.generation + 1, &grants.all()).map_err(PolicyError::Fixed)?;
        Ok(Next { plan, blueprint, grants })
    }

    /// Does what the change on its way leads to.
    fn take_step(&mut self, mut step: Step) {
        while let Step::Replace(component, generation) = &step {
            let Err(error) = self.replace(component, *generation) else { return };
            let component = component.clone();
            let Some(under_way) = &mut self.policy.under_way else { return };
            step = under_way.swap.failed(&component, error, Instant::now());
        }
        if step == Step::Wait {
            return;
        }
        let Some(UnderWay { next, requester, .. }) = self.policy.under_way.take() else { return };
        match step {
            Step::Wait | Step::Replace(..) => {}
            Step::Done(generation) => {
                let words = words(&self.policy.in_force.plan, &next.plan);
                self.records.note_policy("policy_changed", Level::Info, Some(generation), Some(words));
                let before = std::mem::replace(&mut self.policy.in_force, next);
                self.policy.generation = generation;
                self.arm_grant_timer();
                self.changed(requester, Ok(generation));
                self.tell_queue(&before);
            }
            Step::Undone(generation, error) => {
                self.policy.in_force.grants.remember(&next.grants);
                self.policy.generation = generation;
                let message = format!("the policy of before is in force again: {}: {}", error.what, &*error.cause);
                self.records.note_policy("policy_change_failed", Level::Error, Some(generation), Some(message));
                if let Ok(plan) = self.plan_before(generation) {
                    self.policy.in_force.plan = plan;
                }
                self.changed(requester, Err(PolicyError::Failed(error)));
            }
            Step::Lost(error) => {
                let message = format!("nobody knows what is in force, so the agent is stopped: {}: {}", error.what, &*error.cause);
                self.records.note_policy("policy_lost", Level::Error, None, Some(message));
                self.changed(requester, Err(PolicyError::Failed(error.clone())));
                self.fail(error);
            }
        }
        self.begin_changes();
    }

    /// Tells the questions which grants have ended, and whether the manifest's routes are others now.
    fn tell_queue(&mut self, before: &Next) {
        let grants = self.policy.in_force.grants.all();
        let ended = before.grants.all().into_iter().filter(|grant| !grants.contains(grant)).map(|grant| grant.id);
        ended.for_each(|ask| self.ask_queue(Input::Ended(ask)));
        let routes = |next: &Next| next.blueprint.resolved.bottle.egress.routes.clone();
        let now = routes(&self.policy.in_force);
        if now != routes(before) {
            self.ask_queue(Input::PolicyChanged(now));
        }
    }

    /// What is in force, under another number.
    fn plan_before(&self, generation: u64) -> Result<Plan, Error> {
        let policy = &self.policy;
        let again = policy.source.blueprint.again(&policy.in_force.blueprint, self.plan, generation, &policy.in_force.grants.all());
        again.map_err(|fixed| Error::bug("what is in force cannot be planned again", fixed.join("; ")))
    }

    /// Gives a sidecar its configuration, and tells it so.
    fn replace(&mut self, component: &str, generation: u64) -> Result<(), Error> {
        let Some(under_way) = &self.policy.under_way else { return Ok(()) };
        let before;
        let plan = match under_way.swap.goes_back() {
            false => &under_way.next.plan,
            true => {
                before = self.plan_before(generation)?;
                &before
            }
        };
        reconfigure::replace_configuration(plan, component, self.policy.fingerprints.as_ref(), self.records.claim())?;
        match self.watch.processes.reload(component) {
            true => Ok(()),
            false => Err(Error::failed(format!("`{component}` cannot be given the new policy"), "it has exited", "start the bottle again")),
        }
    }
}

/// The error of a sidecar that does not take a policy, in its own words.
fn refusal(component: &str, id: &str, event: Event) -> Error {
    let why = bottle_contract::Untrusted::new(event.message.as_deref().unwrap_or("it gave no reason")).to_string();
    Error::failed(format!("`{component}` refuses the new policy"), why, format!("`bottle logs {id} {component}` shows all that it said"))
}

/// The difference in reach, for the record.
fn words(before: &Plan, after: &Plan) -> String {
    let (before, after) = (before.reach(), after.reach());
    let lines = |sign: &str, found: Vec<Excess>| found.iter().map(|one| format!("{sign} {one}")).collect::<Vec<_>>();
    let all = [lines("more:", reach::beyond(&before, &after)), lines("less:", reach::beyond(&after, &before))].concat();
    let rest = all.len().saturating_sub(MAX_RECORDED_LINES);
    let mut text = all.into_iter().take(MAX_RECORDED_LINES).collect::<Vec<_>>().join("; ");
    if rest > 0 {
        text += &format!("; and {rest} more");
    }
    if text.is_empty() { "nothing more or less is reached".to_owned() } else { text }
}
