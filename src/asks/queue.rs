//! The queue of questions: what comes in, what it leads to. A state machine without I/O.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bottle_contract::ask::{HeldRequest, ToHolder};
use bottle_contract::grant::Grant;
use bottle_contract::supervise::{AskState, Proposal, Reply};

use super::ask_journal::Record;
use super::bounds::{Bucket, EXPIRY_MS, MAX_CLIENTS, MAX_DENIALS_IN_A_ROW, MAX_OPEN, MAX_REMEMBERED};
use super::candidate::{Candidate, is_allowed};
use super::decision::{Decision, Lease, Rejected, Verdict};
use super::events::{Effect, Input, Settings};
use super::plain_text::plain;
use super::question::{Question, Shown, Source};
use super::scope::Scope;
use crate::digest::sha256_hex;
use crate::manifest::model::Route;

/// A question that is not closed.
#[derive(Clone, Debug)]
struct Open {
    question: Question,
    /// [`Question::key`], by which equal questions find each other.
    key: String,
    /// Clients with a held request.
    holders: BTreeSet<u64>,
    /// Clients that follow it.
    followers: BTreeSet<u64>,
    /// A request was told to come back, or the agent proposed it: it stays open without a client.
    stays: bool,
    expires: u64,
    /// The lease, once a person has said yes.
    granting: Option<Lease>,
}

/// A grant in force.
#[derive(Clone, Debug)]
struct Granted {
    number: u64,
    question: Question,
    lease: Lease,
}

/// A question that is closed.
#[derive(Clone, Debug)]
struct Closed {
    state: AskState,
    reason: Option<String>,
}

/// A denial, which answers equal requests.
#[derive(Clone, Debug)]
struct Refusal {
    scope: Scope,
    ask: String,
    reason: Option<String>,
}

/// All questions of one bottle.
#[derive(Clone, Debug)]
pub struct Queue {
    bottle: String,
    attended: bool,
    base: Vec<Route>,
    last: u64,
    open: BTreeMap<u64, Open>,
    closed: BTreeMap<u64, Closed>,
    grants: Vec<Granted>,
    refusals: VecDeque<Refusal>,
    denials_in_a_row: u32,
    bucket: Bucket,
}

impl Queue {
    /// Without questions. Times are milliseconds since boot.
    pub fn new(settings: Settings, now: u64) -> Self {
        Self {
            bottle: settings.bottle,
            attended: settings.attended,
            base: settings.routes,
            last: 0,
            open: BTreeMap::new(),
            closed: BTreeMap::new(),
            grants: Vec::new(),
            refusals: VecDeque::new(),
            denials_in_a_row: 0,
            bucket: Bucket::new(now),
        }
    }

    /// Questions that wait for a person.
    pub fn waiting(&self) -> usize {
        self.open.values().filter(|open| open.granting.is_none()).count()
    }

    /// The questions that are not closed, as a person sees them.
    pub fn shown(&self, now: u64) -> Vec<Shown> {
        let one = |open: &Open| {
            let state = if open.granting.is_some() { AskState::Granting } else { AskState::Open };
            open.question.shown(state, open.holders.len(), now, open.expires)
        };
        self.open.values().map(one).collect()
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<u64> {
        self.open.values().filter(|open| open.granting.is_none()).map(|open| open.expires).min()
    }

    /// Takes what happens.
    pub fn step(&mut self, now: u64, input: Input) -> Vec<Effect> {
        match input {
            Input::Held(client, request, nonce) => self.held(now, client, request, nonce),
            Input::Proposed(client, proposal, nonce) => self.proposed(now, client, proposal, nonce),
            Input::Followed(client, ask) => self.followed(client, &ask),
            Input::Released(client) => self.released(client),
            Input::Left(client) => self.left(client),
            Input::Granted(ask, generation) => self.granted(now, &ask, generation),
            Input::NotGranted(ask, why) => self.not_granted(&ask, &why),
            Input::Ended(ask) => self.ended(&ask),
            Input::PolicyChanged(routes) => {
                self.base = routes;
                let mut effects = self.withdraw_changed();
                effects.extend(self.review(now));
                effects
            }
            Input::Tick => self.tick(now),
        }
    }

    /// Takes a person's decision. `signed`: one of the bottle's signers has signed it.
    pub fn decide(&mut self, decision: &Decision, signed: bool) -> Result<Vec<Effect>, Rejected> {
        let number = self.number(&decision.ask).ok_or(Rejected::Unknown)?;
        let Some(open) = self.open.get_mut(&number) else {
            return Err(if self.closed.contains_key(&number) { Rejected::Closed } else { Rejected::Unknown });
        };
        if open.granting.is_some() {
            return Err(Rejected::Closed);
        }
        decision.judge(&open.question)?;
        let reason = decision.plain_reason();
        let record = Record::Decided {
            ask: open.question.ask.clone(),
            hash: open.question.hash(),
            verdict: decision.verdict,
            reason: reason.clone(),
            signed,
        };
        let mut effects = vec![Effect::Journal(record)];
        match decision.verdict {
            Verdict::Yes(lease) => {
                open.granting = Some(lease);
                self.denials_in_a_row = 0;
                let seconds = if let Lease::For(seconds) = lease { Some(seconds) } else { None };
                effects.push(Effect::Grant(grant(&open.question, lease), seconds));
            }
            Verdict::No => {
                self.denials_in_a_row += 1;
                let (scope, ask) = (open.question.scope.clone(), open.question.ask.clone());
                self.refusals.push_back(Refusal { scope, ask: ask.clone(), reason: reason.clone() });
                if self.refusals.len() > MAX_REMEMBERED {
                    self.refusals.pop_front();
                }
                effects.extend(self.close(number, AskState::Denied, reason.clone(), &ToHolder::Denied { ask, reason }));
            }
        }
        Ok(effects)
    }

    fn held(&mut self, now: u64, client: u64, request: Box<HeldRequest>, nonce: String) -> Vec<Effect> {
        let tell = |reply| vec![Effect::Tell(client, Reply::Held(reply))];
        let Some(scope) = Scope::of_request(&request).filter(|_| self.attended) else { return tell(ToHolder::NotAsked) };
        if is_allowed(&self.base, &self.in_force(), &scope) {
            return tell(ToHolder::JudgeAgain);
        }
        if let Some(refusal) = self.refusals.iter().find(|refusal| refusal.scope == scope) {
            return tell(ToHolder::Denied { ask: refusal.ask.clone(), reason: refusal.reason.clone() });
        }
        let question = self.question(now, Source::Request(request), scope, nonce);
        let key = question.key();
        if let Some(open) = self.open.values_mut().find(|open| open.key == key) {
            if open.holders.len() >= MAX_CLIENTS {
                return tell(ToHolder::NotAsked);
            }
            open.question.count = open.question.count.saturating_add(1);
            open.holders.insert(client);
            return tell(ToHolder::Asked { ask: open.question.ask.clone() });
        }
        if self.denials_in_a_row >= MAX_DENIALS_IN_A_ROW || self.open.len() >= MAX_OPEN || !self.bucket.take(now) {
            return tell(ToHolder::NotAsked);
        }
        let ask = question.ask.clone();
        let mut effects = self.ask(now, question, false);
        if let Some(open) = self.open.get_mut(&self.last) {
            open.holders.insert(client);
        }
        effects.extend([Effect::Tell(client, Reply::Held(ToHolder::Asked { ask })), Effect::Notify]);
        effects
    }

    fn proposed(&mut self, now: u64, client: u64, proposal: Proposal, nonce: String) -> Vec<Effect> {
        let refuse = |why: &str| vec![Effect::Tell(client, Reply::Refused(why.to_owned()))];
        if !self.attended {
            return refuse("no person attends this bottle, so nothing can be granted: work with what is allowed");
        }
        let scope = match Scope::of_proposal(&proposal) {
            Ok(scope) => scope,
            Err(why) => return refuse(&why),
        };
        let reason = plain(&proposal.reason);
        if reason.is_empty() {
            return refuse("`reason`: say in one or two sentences what it is needed for");
        }
        if is_allowed(&self.base, &self.in_force(), &scope) {
            return refuse("this is allowed already: send the request");
        }
        if let Some(refusal) = self.refusals.iter().find(|refusal| refusal.scope == scope) {
            let state = AskState::Denied;
            return vec![Effect::Tell(client, Reply::State { ask: refusal.ask.clone(), state, reason: refusal.reason.clone() })];
        }
        let question = self.question(now, Source::Proposal(reason), scope, nonce);
        let same = |open: &&mut Open| matches!(open.question.source, Source::Proposal(_)) && open.question.scope == question.scope;
        if let Some(open) = self.open.values_mut().find(same) {
            open.question.count = open.question.count.saturating_add(1);
            let state = if open.granting.is_some() { AskState::Granting } else { AskState::Open };
            return vec![Effect::Tell(client, Reply::State { ask: open.question.ask.clone(), state, reason: None })];
        }
        if self.open.len() >= MAX_OPEN || !self.bucket.take(now) {
            return refuse("too many questions are open, or came too fast: wait for their answers");
        }
        let ask = question.ask.clone();
        let mut effects = self.ask(now, question, true);
        effects.extend([Effect::Tell(client, Reply::State { ask, state: AskState::Open, reason: None }), Effect::Notify]);
        effects
    }

    fn followed(&mut self, client: u64, ask: &str) -> Vec<Effect> {
        let Some(number) = self.number(ask) else { return vec![Effect::Tell(client, unknown())] };
        if let Some(open) = self.open.get_mut(&number) {
            if open.followers.len() < MAX_CLIENTS {
                open.followers.insert(client);
            }
            let state = if open.granting.is_some() { AskState::Granting } else { AskState::Open };
            return vec![Effect::Tell(client, Reply::State { ask: ask.to_owned(), state, reason: None })];
        }
        let Some(Closed { state, reason }) = self.closed.get(&number).cloned() else { return vec![Effect::Tell(client, unknown())] };
        vec![Effect::Tell(client, Reply::State { ask: ask.to_owned(), state, reason })]
    }

    fn released(&mut self, client: u64) -> Vec<Effect> {
        for open in self.open.values_mut() {
            open.stays |= open.holders.remove(&client);
        }
        Vec::new()
    }

    fn left(&mut self, client: u64) -> Vec<Effect> {
        let mut abandoned = Vec::new();
        for (number, open) in &mut self.open {
            open.followers.remove(&client);
            if open.holders.remove(&client) && open.holders.is_empty() && !open.stays && open.granting.is_none() {
                abandoned.push(*number);
            }
        }
        let why = || Some("whoever asked has left".to_owned());
        abandoned.into_iter().flat_map(|number| self.close(number, AskState::Withdrawn, why(), &ToHolder::NotAsked)).collect()
    }

    fn tick(&mut self, now: u64) -> Vec<Effect> {
        let due = |open: &Open| open.granting.is_none() && open.expires <= now;
        let expired: Vec<(u64, String)> =
            self.open.iter().filter(|(_, open)| due(open)).map(|(number, open)| (*number, open.question.ask.clone())).collect();
        let mut effects = Vec::new();
        for (number, ask) in expired {
            effects.extend(self.close(number, AskState::Expired, Some("nobody answered".to_owned()), &ToHolder::Expired { ask }));
        }
        effects
    }

    fn granted(&mut self, now: u64, ask: &str, generation: u64) -> Vec<Effect> {
        let Some((number, lease)) = self.granting(ask) else { return Vec::new() };
        let Some(open) = self.open.remove(&number) else { return Vec::new() };
        self.grants.push(Granted { number, question: open.question, lease });
        self.remember(number, AskState::Granted, None);
        let mut effects = vec![Effect::Journal(Record::Granted { ask: ask.to_owned(), generation })];
        effects.extend(open.holders.iter().map(|client| Effect::Tell(*client, Reply::Held(ToHolder::JudgeAgain))));
        let state = || Reply::State { ask: ask.to_owned(), state: AskState::Granted, reason: None };
        effects.extend(open.followers.iter().map(|client| Effect::Tell(*client, state())));
        effects.extend(self.review(now));
        effects
    }

    fn not_granted(&mut self, ask: &str, why: &str) -> Vec<Effect> {
        let Some((number, _)) = self.granting(ask) else { return Vec::new() };
        self.close(number, AskState::Failed, Some(plain(why)), &ToHolder::NotAsked)
    }

    fn ended(&mut self, ask: &str) -> Vec<Effect> {
        let number = self.number(ask);
        let Some(at) = self.grants.iter().position(|granted| Some(granted.number) == number) else { return Vec::new() };
        let Granted { number, question, .. } = self.grants.remove(at);
        self.remember(number, AskState::Ended, None);
        vec![Effect::Journal(Record::Closed { ask: question.ask, state: AskState::Ended, why: None })]
    }

    /// The question of this name, if a person has said yes and nothing has come of it yet.
    fn granting(&self, ask: &str) -> Option<(u64, Lease)> {
        let number = self.number(ask)?;
        Some((number, self.open.get(&number)?.granting?))
    }

    /// Grants that would open something else under the routes of now than what was shown are to end.
    fn withdraw_changed(&self) -> Vec<Effect> {
        let is_changed = |granted: &&Granted| {
            let Question { scope, candidate, .. } = &granted.question;
            Candidate::new(&self.base, scope).digest() != candidate.digest()
        };
        self.grants.iter().filter(is_changed).map(|granted| Effect::Withdraw(granted.question.ask.clone())).collect()
    }

    /// The policy has changed: open questions whose answer would now open something else are asked anew.
    fn review(&mut self, now: u64) -> Vec<Effect> {
        let grants = self.in_force();
        let mut effects = Vec::new();
        let numbers: Vec<u64> = self.open.iter().filter(|(_, open)| open.granting.is_none()).map(|(number, _)| *number).collect();
        for number in numbers {
            let Some(open) = self.open.get(&number) else { continue };
            if is_allowed(&self.base, &grants, &open.question.scope) {
                let why = Some("the policy allows it now".to_owned());
                effects.extend(self.close(number, AskState::Superseded, why, &ToHolder::JudgeAgain));
                continue;
            }
            if Candidate::new(&self.base, &open.question.scope).digest() == open.question.candidate.digest() {
                continue;
            }
            let Some(old) = self.open.remove(&number) else { continue };
            let nonce = sha256_hex(format!("{}{}", old.question.nonce, old.question.ask).as_bytes());
            let Question { source, scope, .. } = old.question.clone();
            let question = Question { count: old.question.count, ..self.question(now, source, scope, nonce) };
            let (before, ask) = (old.question.ask, question.ask.clone());
            let why = Some(format!("the policy has changed; {ask} stands in its place"));
            self.remember(number, AskState::Superseded, why.clone());
            effects.push(Effect::Journal(Record::Closed { ask: before.clone(), state: AskState::Superseded, why: why.clone() }));
            let state = || Reply::State { ask: before.clone(), state: AskState::Superseded, reason: why.clone() };
            effects.extend(old.followers.iter().map(|client| Effect::Tell(*client, state())));
            effects.extend(self.ask(now, question, old.stays));
            effects.extend(old.holders.iter().map(|client| Effect::Tell(*client, Reply::Held(ToHolder::Asked { ask: ask.clone() }))));
            if let Some(open) = self.open.get_mut(&self.last) {
                open.holders = old.holders;
                open.expires = old.expires;
            }
            effects.push(Effect::Notify);
        }
        effects
    }

    /// A question that has no number yet.
    fn question(&self, now: u64, source: Source, scope: Scope, nonce: String) -> Question {
        let candidate = Candidate::new(&self.base, &scope);
        Question { ask: format!("{}.{}", self.bottle, self.last + 1), source, scope, candidate, nonce, asked: now, count: 1 }
    }

    /// Opens a question that [`Self::question`] has made.
    fn ask(&mut self, now: u64, question: Question, stays: bool) -> Vec<Effect> {
        self.last += 1;
        let (request_id, agent_says) = match &question.source {
            Source::Request(request) => (Some(request.request_id.clone()), None),
            Source::Proposal(reason) => (None, Some(reason.clone())),
        };
        let record = Record::Asked {
            ask: question.ask.clone(),
            hash: question.hash(),
            request_id,
            reach: question.candidate.words(),
            yaml: question.candidate.yaml(),
            agent_says,
        };
        let open = Open {
            key: question.key(),
            question,
            holders: BTreeSet::new(),
            followers: BTreeSet::new(),
            stays,
            expires: now + EXPIRY_MS,
            granting: None,
        };
        self.open.insert(self.last, open);
        vec![Effect::Journal(record)]
    }

    /// Closes a question; its clients hear how.
    fn close(&mut self, number: u64, state: AskState, reason: Option<String>, holders_hear: &ToHolder) -> Vec<Effect> {
        let Some(open) = self.open.remove(&number) else { return Vec::new() };
        self.remember(number, state, reason.clone());
        let ask = open.question.ask;
        let mut effects = Vec::new();
        if state != AskState::Denied {
            effects.push(Effect::Journal(Record::Closed { ask: ask.clone(), state, why: reason.clone() }));
        }
        effects.extend(open.holders.iter().map(|client| Effect::Tell(*client, Reply::Held(holders_hear.clone()))));
        let state = || Reply::State { ask: ask.clone(), state, reason: reason.clone() };
        effects.extend(open.followers.iter().map(|client| Effect::Tell(*client, state())));
        effects
    }

    fn remember(&mut self, number: u64, state: AskState, reason: Option<String>) {
        self.closed.insert(number, Closed { state, reason });
        if self.closed.len() > MAX_REMEMBERED {
            self.closed.pop_first();
        }
    }

    /// The grants in force.
    fn in_force(&self) -> Vec<Grant> {
        self.grants.iter().map(|granted| grant(&granted.question, granted.lease)).collect()
    }

    /// The number in the name of one of our questions.
    fn number(&self, ask: &str) -> Option<u64> {
        let (bottle, number) = ask.rsplit_once('.')?;
        let number = number.parse().ok()?;
        (bottle == self.bottle && format!("{bottle}.{number}") == ask).then_some(number)
    }
}

/// The grant that answers a question. The supervisor keeps the time, `egress` counts the requests.
fn grant(question: &Question, lease: Lease) -> Grant {
    let uses = if let Lease::Uses(uses) = lease { Some(u64::from(uses)) } else { None };
    Grant { id: question.ask.clone(), route: question.candidate.route.clone(), uses }
}

fn unknown() -> Reply {
    Reply::Refused("there is no such question; `bottle_propose` and refusals name them".to_owned())
}
