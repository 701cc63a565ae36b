//! The loop: one thread, one poll, from the first step to the last byte.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bottle_contract::event::Level;
use bottle_init::control::{FromInit, ToInit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::operator::Operator;
use super::outcome::{AgentExit, Outcome};
use super::processes::WatchedProcess;
use super::records::Records;
use super::state_machine::{Action, Event, State, Times, limit, step};
use crate::backend::Backend;
use crate::clock;
use crate::error::{Error, Result};
use crate::plan::{Plan, Step};
use crate::signals::{self, Signals};
use crate::store::{Claim, Phase};
use crate::sys::disposition::stop_as_a_job;
use crate::terminal::MESSAGE_TIMEOUT;
use crate::timeline::Timeline;

/// Bytes read at one time.
pub(super) const CHUNK: usize = 64 * 1024;
/// How long sidecars may go on writing before they are read again: what a busy proxy reports is taken in heaps. A pipe holds 64 KiB,
/// which is more than a proxy's events of this time.
const BATCH_INTERVAL: Duration = Duration::from_millis(2);

/// What the operator wants of the run.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// How long each state may take.
    pub times: Times,
    /// The operator's standard input goes to the agent.
    pub feed: bool,
    /// What the agent prints is made harmless for the operator's terminal.
    pub filter: bool,
}

/// Runs a bottle from its first step until nobody is left.
pub fn run(
    plan: &Plan,
    backend: &mut dyn Backend,
    claim: &mut Claim,
    timeline: &mut Timeline,
    signals: &mut Signals,
    options: RunOptions,
) -> Result<(Outcome, BTreeMap<String, u64>)> {
    let logs = claim.logs()?;
    let mut watch = Watch {
        plan,
        steps: plan.steps.iter().cloned().collect(),
        backend,
        claim,
        records: Records::new(timeline, logs),
        operator: Operator::new(options.feed, options.filter),
        signals,
        late: Vec::new(),
        options,
        processes: Vec::new(),
        state: State::Starting,
        since: Instant::now(),
        last_read: None,
        buffer: vec![0; CHUNK],
        waits_for_listeners: false,
        waiting: None,
        released: false,
        outcome: Outcome::default(),
    };
    watch.advance();
    while watch.state != State::Over {
        watch.turn();
    }
    watch.drain();
    Ok(watch.finish())
}

/// A run under way.
pub(super) struct Watch<'r> {
    pub(super) plan: &'r Plan,
    pub(super) steps: VecDeque<Step>,
    pub(super) backend: &'r mut dyn Backend,
    pub(super) claim: &'r mut Claim,
    pub(super) records: Records<'r>,
    pub(super) operator: Operator,
    pub(super) signals: &'r mut Signals,
    /// What came while last bytes were written.
    pub(super) late: Vec<i32>,
    pub(super) options: RunOptions,
    pub(super) processes: Vec<WatchedProcess>,
    pub(super) state: State,
    pub(super) since: Instant,
    /// When the sidecars were read last.
    pub(super) last_read: Option<Instant>,
    /// What is read goes through it.
    pub(super) buffer: Vec<u8>,
    pub(super) waits_for_listeners: bool,
    pub(super) waiting: Option<OwnedFd>,
    pub(super) released: bool,
    pub(super) outcome: Outcome,
}

/// What a polled descriptor belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Token {
    Signals,
    Stdin,
    Stdout,
    Stderr,
    ToAgent,
    Control(usize),
    Process(usize),
    Ready(usize),
    Output(usize, &'static str),
    Step,
}

impl Watch<'_> {
    pub(super) fn fail(&mut self, error: Error) {
        self.outcome.failure(error);
        self.dispatch(&Event::Failed);
    }

    pub(super) fn dispatch(&mut self, event: &Event) {
        let (next, actions) = step(self.state, event);
        if next != self.state {
            self.state = next;
            self.since = Instant::now();
            if next == State::Stopping {
                self.stopping();
            }
        }
        for action in actions {
            self.act(&action);
        }
        if self.state != State::Starting && self.state != State::Over && self.processes.iter().all(|watched| !watched.alive) {
            self.dispatch(&Event::AllExited);
        }
    }

    /// The agent has been asked to end: whoever looks can know it, and the operator's keys can hurry it.
    fn stopping(&mut self) {
        if let Err(error) = self.claim.update(|m| m.phase = Phase::Stopping) {
            self.outcome.failure(error);
        }
        self.operator.let_signals_through();
    }

    fn act(&mut self, action: &Action) {
        let agents = |kind: bool| move |watched: &&WatchedProcess| watched.is_agent() == kind;
        match action {
            Action::Release => self.release(),
            Action::Forward(signal) => {
                self.processes.iter().filter(agents(true)).for_each(|watched| watched.send(&ToInit::Signal(*signal)))
            }
            Action::KillAgent => {
                self.outcome.killed();
                self.processes.iter().filter(agents(true)).for_each(WatchedProcess::kill);
            }
            Action::StopSidecars => {
                // The agent's namespace is gone before anything that judges its requests is.
                self.processes.iter().filter(agents(true)).for_each(WatchedProcess::kill);
                self.processes.iter().filter(agents(false)).for_each(WatchedProcess::stop);
            }
            Action::KillSidecars => {
                let alive: Vec<String> = self
                    .processes
                    .iter()
                    .filter(agents(false))
                    .filter(|watched| watched.alive)
                    .map(|watched| watched.handle.component.clone())
                    .collect();
                self.processes.iter().filter(agents(false)).for_each(WatchedProcess::kill);
                for component in alive {
                    self.records.note("sidecar_killed", Level::Warn, Some(component));
                }
            }
        }
    }

    /// Waits for whatever comes next, and takes it.
    fn turn(&mut self) {
        if let Err(error) = self.records.flush() {
            self.outcome.failure(error);
            if self.state <= State::Running {
                self.dispatch(&Event::Failed);
            }
        }
        let deadline = limit(self.state, &self.options.times).map(|time| self.since + time);
        for token in self.ready(deadline) {
            match token {
                Token::Signals => self.receive_signals(),
                Token::Stdin => self.operator.feed(),
                Token::Stdout => self.operator.stdout.pump(),
                Token::Stderr => self.operator.stderr.pump(),
                Token::ToAgent => self.operator.agent.pump(),
                Token::Control(index) => self.receive(index),
                Token::Process(index) => self.process_exited(index),
                Token::Ready(index) => self.served(index),
                Token::Output(index, name) => self.output(index, name),
                Token::Step => self.resume(),
            }
        }
        self.notice_silence();
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) && limit(self.state, &self.options.times).is_some() {
            self.overdue();
        }
    }

    fn overdue(&mut self) {
        if self.state == State::Starting {
            let missing: Vec<_> =
                self.processes.iter().filter(|watched| !watched.served).map(|watched| watched.handle.component.as_str()).collect();
            let what = format!("{} did not get ready in time", missing.join(" and "));
            let passed = format!("{:?} have passed", self.options.times.start);
            let error = match &self.waiting {
                Some(_) => self.backend.pending_error(),
                None => None,
            };
            self.outcome.failure(error.unwrap_or_else(|| Error::failed(what, passed, "its log is kept: `bottle logs`")));
        } else if self.state == State::Running {
            let limit = self.options.times.run.map(clock::span).unwrap_or_default();
            self.outcome.time_is_up(&limit);
            self.records.note("time_limit", Level::Warn, self.outcome.reason().map(str::to_owned));
        }
        self.dispatch(&Event::Deadline);
    }

    /// The descriptors on which something can be done now, in the order of the work.
    pub(super) fn ready(&self, deadline: Option<Instant>) -> Vec<Token> {
        let again = self.last_read.map(|heard| heard + BATCH_INTERVAL).filter(|again| *again > Instant::now());
        let deadline = again.into_iter().chain(deadline).chain(self.next_silence()).min();
        let mut tokens = Vec::new();
        let mut fds = Vec::new();
        let mut add = |token, fd, flags| {
            tokens.push(token);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        add(Token::Signals, self.signals.as_fd(), PollFlags::IN);
        let Operator { stdout, stderr, agent, .. } = &self.operator;
        let relays = [(Token::Stdout, stdout), (Token::Stderr, stderr), (Token::ToAgent, agent)];
        for (token, relay) in relays {
            if let Some(fd) = relay.blocked_on() {
                add(token, fd, PollFlags::OUT);
            }
        }
        if let (State::Starting, Some(fd)) = (self.state, &self.waiting) {
            add(Token::Step, fd.as_fd(), PollFlags::IN);
        }
        if let (State::Running, Some(fd)) = (self.state, self.operator.input()) {
            add(Token::Stdin, fd, PollFlags::IN);
        }
        for (index, watched) in self.processes.iter().enumerate() {
            for (name, fd) in &watched.handle.stdio.outputs {
                if if watched.is_agent() { self.operator.has_room(name) } else { again.is_none() } {
                    add(Token::Output(index, name), fd.as_fd(), PollFlags::IN);
                }
            }
            if let Some(fd) = &watched.handle.stdio.ready {
                add(Token::Ready(index), fd.as_fd(), PollFlags::IN);
            }
            if watched.talks {
                add(Token::Control(index), watched.handle.control.as_fd(), PollFlags::IN);
            }
            if watched.alive {
                add(Token::Process(index), watched.handle.pidfd.as_fd(), PollFlags::IN);
            }
        }
        let timeout = deadline.map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(left.subsec_nanos()) }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(_) => return Vec::new(),
        }
        tokens.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty()).map(|(token, _)| token).collect()
    }

    /// Sends the agent a signal, if it runs: before, it could neither be asked nor be stopped.
    fn forward(&mut self, signal: i32) {
        if self.released {
            self.act(&Action::Forward(signal));
        }
    }

    pub(super) fn receive_signals(&mut self) {
        let late = std::mem::take(&mut self.late);
        for signal in late.into_iter().chain(self.signals.take()) {
            match signal {
                libc::SIGWINCH => self.operator.resize(),
                libc::SIGTSTP => {
                    self.forward(libc::SIGSTOP);
                    // Whoever stops this process can let it go on.
                    self.pause(|| {
                        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
                    });
                }
                libc::SIGCONT => {}
                libc::SIGUSR1 | libc::SIGUSR2 => self.forward(signal),
                _ => {
                    self.outcome.signal(signal);
                    self.records.note("signal", Level::Info, Some(super::outcome::name(signal)));
                    // Of bottle's own alarm, time and power the agent knows nothing.
                    let known = matches!(signal, libc::SIGINT | libc::SIGQUIT | libc::SIGHUP);
                    self.dispatch(&Event::Signal(if known { signal } else { libc::SIGTERM }));
                }
            }
        }
    }

    /// The agent has stopped itself, as a program does at Ctrl-Z. No shell inside can let it go on: the operator's does, with `fg`; without
    /// one it goes on at once.
    fn agent_stopped(&mut self, index: usize) {
        if self.plan.agent.terminal && self.state == State::Running {
            self.catch_up(index);
            self.pause(|| {
                let _ = stop_as_a_job();
            });
        } else {
            self.forward(libc::SIGCONT);
        }
    }

    /// Stops with the agent, as a job of the operator's shell does, and goes on with it. The pause does not count.
    fn pause(&mut self, stop: impl FnOnce()) {
        let stopped = Instant::now();
        self.operator.pause_modes();
        self.pump_all(MESSAGE_TIMEOUT);
        self.operator.leave_raw();
        stop();
        self.since += stopped.elapsed();
        // One that goes on to end has no use for the terminal, and would be stopped again if it is another's now.
        if self.plan.agent.terminal && self.state == State::Running && signals::asked().is_none() {
            self.operator.enter_raw();
            self.operator.set_modes_again();
        }
        self.operator.resize();
        self.forward(libc::SIGCONT);
        // Its picture may be gone, even if the window has the same size.
        self.forward(libc::SIGWINCH);
        if !self.late.is_empty() {
            self.receive_signals();
        }
    }

    fn receive(&mut self, index: usize) {
        let Some((message, mut fds)) = self.processes[index].receive() else { return };
        let component = self.processes[index].handle.component.clone();
        match message {
            FromInit::Listeners => {
                self.waits_for_listeners = false;
                match self.backend.listeners(fds) {
                    Ok(()) => self.advance(),
                    Err(error) => self.fail(error),
                }
            }
            FromInit::Terminal => {
                if let Some(output) = self.operator.take_terminal(fds.pop()) {
                    self.processes[index].handle.stdio.outputs.push(("terminal", output));
                }
            }
            FromInit::Prepared => {
                self.processes[index].served = true;
                if let Some(input) = self.processes[index].handle.stdio.input.take() {
                    self.operator.take_input(input);
                }
                self.check_ready();
            }
            FromInit::Exited(code) => self.program_exited(index, AgentExit::Exited(code)),
            FromInit::Stopped(_) if self.processes[index].is_agent() => self.agent_stopped(index),
            FromInit::Stopped(_) => {}
            FromInit::Signaled(signal) => self.program_exited(index, AgentExit::Signaled(signal)),
            FromInit::NotExecuted(number) => self.program_exited(index, AgentExit::NotExecuted(number)),
            FromInit::Failed(failure) => {
                let what = format!("cannot start `{component}`: {}", failure.what);
                self.fail(Error::failed(what, failure.cause, "`bottle doctor` shows what this host allows"));
            }
        }
    }

    /// The end of a sidecar is complete with that of its first process, which follows at once.
    fn program_exited(&mut self, index: usize, end: AgentExit) {
        if self.processes[index].is_agent() {
            self.agent_exited(end);
        } else {
            self.processes[index].end = Some(end);
        }
    }

    fn agent_exited(&mut self, end: AgentExit) {
        self.outcome.agent(end);
        // The modes stay until the agent's last bytes are out: they must not be changed on the way.
        self.operator.let_signals_through();
        self.dispatch(&Event::AgentExited);
    }

    fn process_exited(&mut self, index: usize) {
        // What the process said last is heard first.
        while self.processes[index].talks && self.state <= State::Killing {
            self.receive(index);
        }
        if !self.processes[index].is_agent() {
            self.drain_output(index);
        }
        let how = self.processes[index].reap();
        let component = self.processes[index].handle.component.clone();
        let is_agent = self.processes[index].is_agent();
        if is_agent && self.state == State::Starting {
            let what = "the bottle ended before its agent could start";
            self.fail(Error::failed(what, how, "`bottle doctor` shows what this host allows"));
        } else if is_agent && self.released {
            self.agent_exited(AgentExit::Lost);
        } else if is_agent {
            // The start was called off, and why is known already.
        } else if self.state <= State::Running {
            let what = if self.state == State::Starting {
                format!("`{component}` exited before it was ready")
            } else {
                format!("`{component}` exited; the agent has lost network access")
            };
            self.records.note("sidecar_ended", Level::Error, Some(format!("{component}: {how}")));
            self.outcome.failure(Error::failed(what, how, format!("`bottle logs {} {component}` shows its last words", self.plan.id)));
            self.dispatch(&Event::SidecarExited);
        }
        if self.processes.iter().all(|watched| !watched.alive) {
            self.dispatch(&Event::AllExited);
        }
    }

    fn finish(mut self) -> (Outcome, BTreeMap<String, u64>) {
        let dropped = self.records.finish();
        if let Err(error) = self.records.flush() {
            self.outcome.failure(error);
        }
        (self.outcome, dropped)
    }
}
