//! A run: one thread, one poll, from the first step to the last byte.
//!
//! What happens comes in as a [`Token`] and becomes an [`Event`]; the table says which [`Action`]s follow. An action cannot lead to another
//! event but by failing, and then the event waits until the action is over.

mod clients;
mod exits;
mod interrupts;
mod output;
mod policy;
mod questions;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::Instant;

use bottle_contract::event::Level;
use bottle_init::control::ToInit;

use super::change::{PolicyState, Source as PolicySource};
use super::drain;
use super::grant_timer::GrantTimer;
use super::operator::Operator;
use super::outcome::Outcome;
use super::records::Records;
use super::starter::{Progress, Starter};
use super::state_machine::{Action, Event, State, Times, step};
use super::supervision::Supervision;
use super::teardown::{Report, tear_down};
use super::watch::{PolicyWatch, Token, Watch};
use super::watched_process;
use crate::backend::{Backend, Input};
use crate::clock;
use crate::control_socket::Server;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::signals::Signals;
use crate::store::{Claim, Phase};

/// Bytes of output read at one time.
const CHUNK_BYTES: usize = 64 * 1024;

/// How the operator wants the agent to run.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// How long each state may take.
    pub times: Times,
    /// The operator's standard input goes to the agent.
    pub feed: bool,
    /// What the agent prints is made harmless for the operator's terminal.
    pub filter: bool,
}

/// Who performs a plan, and with what.
pub struct Performer<'a> {
    /// The backend's name, for the record.
    pub name: &'a str,
    /// The backend.
    pub backend: Box<dyn Backend>,
    /// What it needs besides the plan.
    pub input: Input,
}

/// A bottle from its first step until nothing of it is left but its directory of logs. `policy` says how its policy is changed meanwhile.
pub struct Run<'r> {
    plan: &'r Plan,
    starter: Starter<'r>,
    watch: Watch<'r>,
    records: Records<'r>,
    operator: Operator,
    outcome: Outcome,
    policy: PolicyState<'r>,
    server: Server,
    grant_timer: GrantTimer,
    /// The questions, in a bottle that asks a person.
    supervision: Option<Supervision>,
    /// What is read goes through it.
    buffer: Vec<u8>,
}

impl<'r> Run<'r> {
    /// Begins the records of a run, and starts nothing.
    pub fn new(
        plan: &'r Plan,
        performer: Performer<'_>,
        claim: &'r mut Claim,
        signals: &'r mut Signals,
        options: RunOptions,
        source: PolicySource<'r>,
    ) -> Result<Self> {
        Ok(Self {
            plan,
            policy: PolicyState::new(source, plan, performer.input.values.fingerprints.clone()),
            server: Server::open(claim.runtime()?)?,
            grant_timer: GrantTimer::new()?,
            supervision: None,
            records: Records::begin(plan, performer.name, claim)?,
            starter: Starter::new(plan, performer.backend, performer.input),
            watch: Watch::new(signals, options.times),
            operator: Operator::new(options.feed, options.filter),
            outcome: Outcome::default(),
            buffer: vec![0; CHUNK_BYTES],
        })
    }

    /// Runs until nobody is left, and tears down.
    pub fn to_end(mut self) -> Report {
        self.advance();
        while self.state() != State::Over {
            self.turn();
        }
        self.read_rest();
        let Self { starter, mut watch, records, mut operator, mut outcome, .. } = self;
        outcome.unread(drain::finish(&mut operator, &mut watch.signals, outcome.was_asked()));
        tear_down(&mut *starter.end(), records, outcome)
    }

    fn state(&self) -> State {
        self.watch.state()
    }

    /// Waits for whatever comes next, and takes it.
    fn turn(&mut self) {
        if let Err(error) = self.records.flush() {
            self.outcome.failure(error);
            if self.state() <= State::Running {
                self.dispatch(Event::Failed);
            }
        }
        let state = self.state();
        let deadline = self.policy.under_way.as_ref().map(|under_way| under_way.swap.deadline());
        let deadline = deadline.into_iter().chain(self.next_question_deadline()).min();
        let supervision = self.supervision.as_ref();
        let policy = PolicyWatch { server: &self.server, grant_timer: self.grant_timer.as_fd(), supervision, deadline };
        for token in self.watch.wait(&self.operator, self.starter.pending(), &policy) {
            match token {
                Token::Signals => self.receive_signals(),
                Token::Stdin => self.operator.feed(),
                Token::Stdout => self.operator.stdout.pump(),
                Token::Stderr => self.operator.stderr.pump(),
                Token::ToAgent => self.operator.agent.pump(),
                Token::Control(index) => self.receive(index),
                Token::Process(index) => self.process_exited(index),
                Token::Ready(index) => self.hear(index),
                Token::Output(index, name) => self.read_output(index, name),
                Token::Step => self.resume(),
                Token::Connect => self.server.accept(),
                Token::FromClient(id) => self.serve(id),
                Token::ToClient(id) => self.server.pump(id),
                Token::GrantEnd => self.end_grants(),
                Token::Questions => self.read_questions(),
                Token::Replies => self.supervision.iter_mut().for_each(|supervision| supervision.channel.pump()),
                Token::Verified => self.verified(),
            }
        }
        self.notice_silence();
        self.hear_of_policy();
        self.look_after_questions();
        // A state that was entered just now has its time before it.
        if self.state() == state && self.watch.stage.deadline().is_some_and(|deadline| Instant::now() >= deadline) {
            self.overdue();
        }
    }

    /// Does what the table says about an event, and about those that this leads to.
    fn dispatch(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let (next, actions) = step(self.state(), &event);
            if self.watch.stage.enter(next, Instant::now()) && next == State::Stopping {
                self.stopping();
            }
            for action in actions {
                if let Err(error) = self.act(&action) {
                    self.outcome.failure(error);
                    events.push_back(Event::Failed);
                }
            }
            if !matches!(self.state(), State::Starting | State::Over) && self.watch.processes.all_exited() {
                events.push_back(Event::AllExited);
            }
        }
    }

    fn fail(&mut self, error: Error) {
        self.outcome.failure(error);
        self.dispatch(Event::Failed);
    }

    /// The agent has been asked to end: whoever looks can know it, and the operator's keys can hurry it.
    fn stopping(&mut self) {
        if let Err(error) = self.records.update(|metadata| metadata.phase = Phase::Stopping) {
            self.outcome.failure(error);
        }
        self.operator.let_signals_through();
        self.give_up_changes();
    }

    fn act(&mut self, action: &Action) -> Result<()> {
        let processes = &self.watch.processes;
        match action {
            Action::Release => return self.release(),
            Action::Forward(signal) => processes.send_to_agent(&ToInit::Signal(*signal)),
            Action::KillAgent => {
                self.outcome.killed();
                processes.kill_agent();
            }
            Action::StopSidecars => {
                // The agent's namespace is gone before anything that judges its requests is.
                processes.kill_agent();
                processes.stop_sidecars();
            }
            Action::KillSidecars => {
                for component in processes.kill_sidecars() {
                    self.records.note("sidecar_killed", Level::Warn, Some(component));
                }
            }
        }
        Ok(())
    }

    fn release(&mut self) -> Result<()> {
        self.begin_questions()?;
        self.starter.release();
        self.records.update(|metadata| metadata.phase = Phase::Running)?;
        self.records.note("started", Level::Info, None);
        if self.plan.agent.terminal {
            self.operator.enter_raw();
        }
        // From here on nobody reads this process' memory. Earlier, the children's identity maps could not be written.
        bottle_init::sys::set_undumpable()
            .map_err(|e| Error::failed("cannot protect bottle's memory", e, "see if another security module forbids prctl"))?;
        self.watch.processes.send_to_agent(&ToInit::Start);
        Ok(())
    }

    /// Performs steps until one must wait for something.
    fn advance(&mut self) {
        while self.state() == State::Starting {
            let Some(progress) = self.starter.advance(self.records.claim()) else { return };
            if !self.progress(progress) {
                return;
            }
        }
    }

    /// The step that waited goes on.
    fn resume(&mut self) {
        if self.state() == State::Starting {
            let progress = self.starter.resume(self.records.claim());
            if self.progress(progress) {
                self.advance();
                self.check_ready();
            }
        }
    }

    /// Takes what a step has led to; false if the start has failed.
    fn progress(&mut self, progress: Result<Progress>) -> bool {
        match progress {
            Ok(Progress::Waits) => true,
            Ok(Progress::Done(notes)) => {
                for note in notes {
                    self.operator.stderr.push(format!("note: {note}\n").as_bytes());
                    self.records.note("left_out", Level::Warn, Some(note));
                }
                true
            }
            Ok(Progress::Spawned(process)) => {
                let opened = self.records.open(&process.component);
                self.watch.processes.push(process);
                opened.map_err(|error| self.fail(error)).is_ok()
            }
            Err(error) => {
                // A step that a signal called off has not failed.
                self.receive_signals();
                if self.state() == State::Starting {
                    self.fail(error);
                }
                false
            }
        }
    }

    fn check_ready(&mut self) {
        if self.state() == State::Starting && self.starter.is_complete() && self.watch.processes.all_ready() {
            self.dispatch(Event::AllReady);
        }
    }

    /// A sidecar says that it serves, or that it still does.
    fn hear(&mut self, index: usize) {
        let process = self.watch.processes.get(index);
        let report = process.hear(Instant::now());
        let component = process.handle.component.clone();
        match report {
            watched_process::Report::Nothing => {}
            watched_process::Report::Ready => self.check_ready(),
            watched_process::Report::AnswersAgain => {
                self.records.note("sidecar_answers", Level::Info, Some(format!("{component}: it answers again")));
                self.report_silent();
            }
            watched_process::Report::NeverReady => {
                let hint = format!("`bottle logs {} {component}` shows its last words", self.plan.id);
                let cause = "it closed its readiness descriptor without a word";
                self.fail(Error::failed(format!("`{component}` does not serve"), cause, hint));
            }
        }
    }

    /// Notes who has said nothing for too long.
    fn notice_silence(&mut self) {
        let now = Instant::now();
        if self.watch.next_silence().is_none_or(|due| now < due) {
            return;
        }
        for component in self.watch.processes.fall_silent(now) {
            let seconds = bottle_contract::handoff::HEARTBEAT_TIMEOUT.as_secs();
            let message = format!("{component}: it has not answered for {seconds} s; what asks it waits, and nothing passes around it");
            self.records.note("sidecar_silent", Level::Warn, Some(message));
        }
        self.report_silent();
    }

    /// For `bottle list`.
    fn report_silent(&mut self) {
        let silent = self.watch.processes.silent();
        if let Err(error) = self.records.update(|metadata| metadata.silent = silent) {
            self.outcome.failure(error);
        }
    }

    fn overdue(&mut self) {
        if self.state() == State::Starting {
            let what = format!("{} did not get ready in time", self.watch.processes.not_ready().join(" and "));
            let passed = format!("{:?} have passed", self.watch.stage.times().start);
            let waited = || Error::failed(what, passed, "its log is kept: `bottle logs`");
            self.outcome.failure(self.starter.overdue().unwrap_or_else(waited));
        } else if self.state() == State::Running {
            let limit = self.watch.stage.times().run.map(clock::span).unwrap_or_default();
            self.outcome.time_is_up(&limit);
            self.records.note("time_limit", Level::Warn, self.outcome.reason().map(str::to_owned));
        }
        self.dispatch(Event::Deadline);
    }
}
