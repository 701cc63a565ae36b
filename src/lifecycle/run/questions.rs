//! Questions on their way: from `supervise` into the queue, from an operator's command to a decision, and what follows.

use std::time::{Duration, Instant};

use bottle_contract::event::Level;
use bottle_contract::supervise::{FromClient, Reply, ToClient, ToSupervisor};

use super::Run;
use crate::asks::{Decision, Effect, Input, Rejected, Settings, Verdict};
use crate::control_socket::asks_command::{AnswerResult, AskList};
use crate::control_socket::{ClientId, Response};
use crate::digest::sha256_hex;
use crate::error::{Error, Result};
use crate::files::random_hex;
use crate::lifecycle::change::{Change, Lease, PolicyError, Requester};
use crate::lifecycle::signature::Verification;
use crate::lifecycle::supervision::{Supervision, now};

/// The longest name of a signer.
const MAX_SIGNER_BYTES: usize = 256;

impl Run<'_> {
    /// Begins to take questions, if the bottle has `supervise`.
    pub(super) fn begin_questions(&mut self) -> Result<()> {
        let bottle = &self.policy.source.blueprint.resolved.bottle;
        let (Some(supervise), Some(socket)) = (&bottle.supervise, self.starter.take_supervise()) else { return Ok(()) };
        let attended = self.plan.agent.terminal || supervise.queues();
        let settings = Settings { bottle: self.plan.id.clone(), attended, routes: bottle.egress.routes.clone() };
        let signers = supervise.signers.clone();
        self.supervision = Some(Supervision::new(settings, signers, socket, self.records.claim().state())?);
        self.records.keep_refusals();
        Ok(())
    }

    /// When something of the questions is due.
    pub(super) fn next_question_deadline(&self) -> Option<Instant> {
        let supervision = self.supervision.as_ref()?;
        let until = |millis: u64| Instant::now() + Duration::from_millis(millis.saturating_sub(now()));
        let verification = supervision.verification.as_ref().map(Verification::deadline);
        supervision.queue.deadline().map(until).into_iter().chain(verification).min()
    }

    /// Takes what `supervise` says.
    pub(super) fn read_questions(&mut self) {
        let Some(supervision) = &mut self.supervision else { return };
        for FromClient { client, says } in supervision.channel.read() {
            let input = match says {
                ToSupervisor::Ask(request) => Input::Held(client, Box::new(request), nonce()),
                ToSupervisor::Propose(proposal) => Input::Proposed(client, proposal, nonce()),
                ToSupervisor::Follow { ask } => Input::Followed(client, ask),
                ToSupervisor::Released => Input::Released(client),
                ToSupervisor::Left => Input::Left(client),
                ToSupervisor::Denials { last } => {
                    self.tell(client, |supervision| Reply::Denials(supervision.denials(last)));
                    continue;
                }
            };
            self.ask_queue(input);
        }
    }

    fn tell(&mut self, client: u64, reply: impl FnOnce(&Supervision) -> Reply) {
        if let Some(supervision) = &mut self.supervision {
            let hears = reply(supervision);
            supervision.channel.send(&ToClient { client, hears });
        }
    }

    /// Gives the queue an input, and does what follows.
    pub(super) fn ask_queue(&mut self, input: Input) {
        let Some(supervision) = &mut self.supervision else { return };
        let effects = supervision.queue.step(now(), input);
        self.follow_up(effects);
    }

    /// Does what the queue says. Order matters: what is not on disk has no effect.
    fn follow_up(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let Some(supervision) = &mut self.supervision else { return };
            match effect {
                Effect::Journal(record) => {
                    supervision.revision += 1;
                    if let Err(error) = supervision.write(&record) {
                        return self.fail(error);
                    }
                    let (event, sentence) = record.event();
                    self.records.note(event, Level::Info, Some(sentence));
                }
                Effect::Tell(client, reply) => supervision.channel.send(&ToClient { client, hears: reply }),
                Effect::Grant(grant, seconds) => {
                    let ask = grant.id.clone();
                    let lease = Lease { grant, lasts: seconds.map(Duration::from_secs) };
                    if let Err(error) = self.change_policy(Change::Grant(lease), Requester::Ask(ask.clone())) {
                        self.grant_settled(ask, Err(error));
                    }
                }
                // One that has ended meanwhile is no error, and a bottle that ends closes everything.
                Effect::Withdraw(ask) => drop(self.change_policy(Change::Withdraw(ask), Requester::End)),
                Effect::Notify => self.operator.notify(),
            }
        }
    }

    /// What became of a grant.
    pub(in crate::lifecycle) fn grant_settled(&mut self, ask: String, result: std::result::Result<u64, PolicyError>) {
        let client = self.supervision.as_mut().and_then(|supervision| supervision.answers.remove(&ask));
        let (input, response) = match result {
            Ok(generation) => (Input::Granted(ask, generation), Response::Answer(AnswerResult::Granted { generation })),
            Err(error) => {
                let error = error.for_operator(&self.plan.id, &self.plan.agent.name);
                (Input::NotGranted(ask, format!("{}: {}", error.what, &*error.cause)), Response::Failed(error.into()))
            }
        };
        self.ask_queue(input);
        if let Some(client) = client {
            self.server.answer(client, &response);
        }
    }

    /// Answers a command that lists the questions.
    pub(super) fn list_questions(&mut self, client: ClientId) {
        let list = match &self.supervision {
            Some(supervision) => AskList { revision: supervision.revision, asks: supervision.queue.shown(now()) },
            None => AskList { revision: 0, asks: Vec::new() },
        };
        self.server.answer(client, &Response::Asks(list));
    }

    /// Takes a decision, or first has its signature verified.
    pub(super) fn answer_question(&mut self, client: ClientId, decision: Decision) {
        if let Err(error) = self.try_answer(client, decision) {
            self.server.answer(client, &Response::Failed(error.into()));
        }
    }

    fn try_answer(&mut self, client: ClientId, decision: Decision) -> Result<()> {
        let Some(supervision) = &mut self.supervision else {
            let what = format!("`{}` asks nobody", self.plan.id);
            return Err(Error::usage(what, "its manifest has no `supervise`", "add `supervise: true`, and start it again"));
        };
        let (Some(signers), Verdict::Yes(_)) = (supervision.signers.clone(), decision.verdict) else {
            return self.decide(client, &decision, false);
        };
        let signed = decision.signature.as_ref().zip(decision.signer.clone());
        let Some((_, signer)) = signed.filter(|(_, signer)| is_signer(signer)) else {
            return Err(rejected(&decision, &Rejected::SignatureMissing));
        };
        if supervision.verification.is_some() {
            return Err(Error::failed("another signature is being verified", "one at a time", "try again"));
        }
        let open = supervision.queue.shown(now()).into_iter().find(|shown| shown.ask == decision.ask);
        let hash = open.map(|shown| shown.hash).ok_or_else(|| rejected(&decision, &Rejected::Closed))?;
        let runtime = self.records.claim().runtime()?;
        supervision.verification =
            Some(Verification::start(&self.plan.workspace.source, &signers, &signer, &hash, client, decision, runtime)?);
        Ok(())
    }

    /// A signature has been verified, or has taken too long.
    pub(super) fn verified(&mut self) {
        let Some(verification) = self.supervision.as_mut().and_then(|supervision| supervision.verification.take()) else { return };
        let (client, decision, holds) = verification.end();
        let decided = if holds { self.decide(client, &decision, true) } else { Err(rejected(&decision, &Rejected::SignatureBad)) };
        if let Err(error) = decided {
            self.server.answer(client, &Response::Failed(error.into()));
        }
    }

    fn decide(&mut self, client: ClientId, decision: &Decision, signed: bool) -> Result<()> {
        let Some(supervision) = &mut self.supervision else { return Ok(()) };
        let effects = supervision.queue.decide(decision, signed).map_err(|why| rejected(decision, &why))?;
        match decision.verdict {
            Verdict::No => {
                self.follow_up(effects);
                self.server.answer(client, &Response::Answer(AnswerResult::Denied));
            }
            Verdict::Yes(_) => {
                supervision.answers.insert(decision.ask.clone(), client);
                self.follow_up(effects);
            }
        }
        Ok(())
    }

    /// Looks at the time, and at what sidecars have refused.
    pub(super) fn look_after_questions(&mut self) {
        let refusals = self.records.take_refusals();
        let Some(supervision) = &mut self.supervision else { return };
        for (component, event) in refusals {
            supervision.take_refusal(&component, event);
        }
        if supervision.verification.as_ref().is_some_and(|verification| verification.deadline() <= Instant::now()) {
            self.verified();
        }
        if self.supervision.as_ref().and_then(|supervision| supervision.queue.deadline()).is_some_and(|deadline| deadline <= now()) {
            self.ask_queue(Input::Tick);
        }
    }
}

/// Drawn for one question. Without randomness the time alone must do: the hash still binds everything that is shown.
fn nonce() -> String {
    let drawn = random_hex().unwrap_or_default();
    sha256_hex(format!("{drawn}{}", crate::clock::boot_micros()).as_bytes())
}

/// A principal as `ssh-keygen -I` takes it, and no option.
fn is_signer(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_SIGNER_BYTES && !name.starts_with('-') && name.bytes().all(|b| b.is_ascii_graphic())
}

fn rejected(decision: &Decision, why: &Rejected) -> Error {
    let hint = match why {
        Rejected::HostMissing | Rejected::HostDiffers => "add `--host` with the host that the question names",
        Rejected::SignatureMissing | Rejected::SignatureBad => {
            "sign the hash: `ssh-keygen -Y sign -n ask@bottle -f KEY`, and add `--signature FILE`"
        }
        _ => "`bottle asks` shows what is open, with its hash",
    };
    let ask = bottle_contract::Untrusted::new(&decision.ask).to_string();
    Error::usage(format!("the answer to `{ask}` does not count"), why.to_string(), hint)
}
