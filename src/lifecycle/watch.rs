//! The loop: one thread, one poll, from the first step to the last byte.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bottle_contract::event::Level;
use bottle_contract::handoff::READY;
use bottle_init::control::{FromInit, ToInit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cells::Live;
use super::end::{AgentEnd, Ending};
use super::operator::Operator;
use super::records::Records;
use super::table::{Action, Happening, State, Times, limit, step};
use crate::backend::{Applied, Backend};
use crate::error::{Error, Result};
use crate::plan::{Plan, Step};
use crate::signals::Signals;
use crate::store::{Claim, Phase};
use crate::timeline::Timeline;

/// Bytes read at one time.
pub(super) const CHUNK: usize = 64 * 1024;
/// How long a reader of our output that stands still may hold up the end.
const LAST_BYTES: Duration = Duration::from_secs(5);

/// Nanoseconds between the end of a process' descriptors and its own, on a busy machine.
const LAST_WORDS: i64 = 500_000_000;

/// What the operator wants of the run.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    /// How long each state may take.
    pub times: Times,
    /// The operator's standard input goes to the agent.
    pub feed: bool,
}

/// Runs a bottle from its first step until nobody is left.
pub fn run(
    plan: &Plan,
    backend: &mut dyn Backend,
    claim: &mut Claim,
    timeline: &mut Timeline,
    signals: &mut Signals,
    wishes: Wishes,
) -> Result<(Ending, BTreeMap<String, u64>)> {
    let logs = claim.logs()?;
    let mut watch = Watch {
        plan,
        steps: plan.steps.iter().cloned().collect(),
        backend,
        claim,
        records: Records::new(timeline, logs),
        operator: Operator::new(wishes.feed),
        signals,
        wishes,
        cells: Vec::new(),
        state: State::Starting,
        since: Instant::now(),
        waits_for_listeners: false,
        waiting: None,
        released: false,
        ending: Ending::default(),
    };
    watch.advance();
    while watch.state != State::Over {
        watch.turn();
    }
    watch.drain();
    Ok(watch.finish())
}

struct Watch<'r> {
    plan: &'r Plan,
    steps: VecDeque<Step>,
    backend: &'r mut dyn Backend,
    claim: &'r mut Claim,
    records: Records<'r>,
    operator: Operator,
    signals: &'r mut Signals,
    wishes: Wishes,
    cells: Vec<Live>,
    state: State,
    since: Instant,
    waits_for_listeners: bool,
    waiting: Option<OwnedFd>,
    released: bool,
    ending: Ending,
}

/// What a polled descriptor belongs to.
#[derive(Clone, Copy, Debug)]
enum Token {
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
    /// Performs steps until one must wait for something.
    fn advance(&mut self) {
        while self.state == State::Starting && !self.waits_for_listeners && self.waiting.is_none() {
            match self.steps.front() {
                Some(Step::Release) | None => return,
                Some(_) => {}
            }
            let Some(next) = self.steps.pop_front() else { return };
            let applied = self.backend.apply(&next, self.claim);
            if !self.applied(applied) {
                return;
            }
        }
    }

    /// Takes what a step has started; false if the start has failed.
    fn applied(&mut self, applied: Result<Applied>) -> bool {
        match applied {
            Ok(Applied::Done) => {}
            Ok(Applied::Piece(cell)) => self.cells.push(Live::new(cell)),
            Ok(Applied::PieceThenListeners(cell)) => {
                self.cells.push(Live::new(cell));
                self.waits_for_listeners = true;
            }
            Ok(Applied::Waits(fd)) => self.waiting = Some(fd),
            Err(error) => {
                self.fail(error);
                return false;
            }
        }
        for sentence in self.backend.left_out() {
            self.operator.stderr.push(format!("note: {sentence}\n").as_bytes());
            self.records.note("left_out", Level::Warn, Some(sentence));
        }
        if let Some(Err(error)) = self.cells.last().map(|live| self.records.open(&live.cell.piece)) {
            self.fail(error);
            return false;
        }
        true
    }

    /// The step that waited goes on.
    fn proceed(&mut self) {
        self.waiting = None;
        if self.state == State::Starting {
            let applied = self.backend.proceed(self.claim);
            if self.applied(applied) {
                self.advance();
                self.check_served();
            }
        }
    }

    fn fail(&mut self, error: Error) {
        self.ending.failure(error);
        self.happen(&Happening::Failed);
    }

    fn happen(&mut self, happening: &Happening) {
        let (next, actions) = step(self.state, happening);
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
        if self.state != State::Starting && self.state != State::Over && self.cells.iter().all(|live| !live.alive) {
            self.happen(&Happening::NobodyLeft);
        }
    }

    /// The agent has been asked to end: whoever looks can know it, and the operator's keys can hurry it.
    fn stopping(&mut self) {
        if let Err(error) = self.claim.update(|m| m.phase = Phase::Stopping) {
            self.ending.failure(error);
        }
        self.operator.let_signals_through();
    }

    fn act(&mut self, action: &Action) {
        let agents = |kind: bool| move |live: &&Live| live.is_agent() == kind;
        match action {
            Action::Release => self.release(),
            Action::Forward(signal) => self.cells.iter().filter(agents(true)).for_each(|live| live.tell(&ToInit::Signal(*signal))),
            Action::KillAgent => {
                self.ending.killed();
                self.cells.iter().filter(agents(true)).for_each(Live::kill);
            }
            Action::StopSidecars => {
                // The agent's namespace is gone before anything that judges its requests is.
                self.cells.iter().filter(agents(true)).for_each(Live::kill);
                self.cells.iter().filter(agents(false)).for_each(Live::stop);
            }
            Action::KillSidecars => {
                let alive: Vec<String> =
                    self.cells.iter().filter(agents(false)).filter(|live| live.alive).map(|live| live.cell.piece.clone()).collect();
                self.cells.iter().filter(agents(false)).for_each(Live::kill);
                for piece in alive {
                    self.records.note("sidecar_killed", Level::Warn, Some(piece));
                }
            }
        }
    }

    fn release(&mut self) {
        self.steps.clear();
        self.released = true;
        if let Err(error) = self.claim.update(|m| m.phase = Phase::Running) {
            return self.fail(error);
        }
        self.records.note("started", Level::Info, None);
        if self.plan.agent.terminal {
            self.operator.enter_raw();
        }
        self.backend.released();
        // From here on nobody reads this process' memory. Earlier, the children's identity maps could not be written.
        if let Err(e) = bottle_init::sys::set_undumpable() {
            return self.fail(Error::failed("cannot protect bottle's memory", e, "see if another security module forbids prctl"));
        }
        self.cells.iter().filter(|live| live.is_agent()).for_each(|live| live.tell(&ToInit::Start));
    }

    /// Waits for whatever comes next, and takes it.
    fn turn(&mut self) {
        if let Err(error) = self.records.flush() {
            self.ending.failure(error);
            if self.state <= State::Running {
                self.happen(&Happening::Failed);
            }
        }
        let deadline = limit(self.state, &self.wishes.times).map(|time| self.since + time);
        for token in self.ready(deadline) {
            match token {
                Token::Signals => self.hear_signals(),
                Token::Stdin => self.operator.feed(),
                Token::Stdout => self.operator.stdout.pump(),
                Token::Stderr => self.operator.stderr.pump(),
                Token::ToAgent => self.operator.agent.pump(),
                Token::Control(index) => self.hear(index),
                Token::Process(index) => self.ended(index),
                Token::Ready(index) => self.served(index),
                Token::Output(index, name) => self.output(index, name),
                Token::Step => self.proceed(),
            }
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) && limit(self.state, &self.wishes.times).is_some() {
            self.overdue();
        }
    }

    fn overdue(&mut self) {
        if self.state == State::Starting {
            let missing: Vec<_> = self.cells.iter().filter(|live| !live.served).map(|live| live.cell.piece.as_str()).collect();
            let what = format!("{} did not get ready in time", missing.join(" and "));
            let passed = format!("{:?} have passed", self.wishes.times.start);
            let error = match &self.waiting {
                Some(_) => self.backend.awaited(),
                None => None,
            };
            self.ending.failure(error.unwrap_or_else(|| Error::failed(what, passed, "its log is kept: `bottle logs`")));
        } else if self.state == State::Running {
            self.records.note("time_limit", Level::Warn, None);
        }
        self.happen(&Happening::Deadline);
    }

    /// The descriptors on which something can be done now. The order is the order of the work: what a piece wrote is
    /// read before its end is taken.
    fn ready(&self, deadline: Option<Instant>) -> Vec<Token> {
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
        for (index, live) in self.cells.iter().enumerate() {
            for (name, fd) in &live.cell.ends.outputs {
                if !live.is_agent() || self.operator.has_room(name) {
                    add(Token::Output(index, name), fd.as_fd(), PollFlags::IN);
                }
            }
            if let Some(fd) = &live.cell.ends.ready {
                add(Token::Ready(index), fd.as_fd(), PollFlags::IN);
            }
            if live.talks {
                add(Token::Control(index), live.cell.control.as_fd(), PollFlags::IN);
            }
            if live.alive {
                add(Token::Process(index), live.cell.pidfd.as_fd(), PollFlags::IN);
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

    fn hear_signals(&mut self) {
        for signal in self.signals.take() {
            match signal {
                libc::SIGWINCH => self.operator.resize(),
                libc::SIGTSTP => self.suspend(),
                libc::SIGCONT => {}
                libc::SIGUSR1 | libc::SIGUSR2 => self.act(&Action::Forward(signal)),
                _ => {
                    self.ending.signal(signal);
                    self.records.note("signal", Level::Info, Some(super::end::name(signal)));
                    self.happen(&Happening::Signal(signal));
                }
            }
        }
    }

    /// Stops with the agent, as a job of the operator's shell does, and goes on with it. The pause does not count.
    fn suspend(&mut self) {
        let stopped = Instant::now();
        self.act(&Action::Forward(libc::SIGSTOP));
        self.operator.leave_raw();
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
        self.since += stopped.elapsed();
        if self.plan.agent.terminal && self.state == State::Running {
            self.operator.enter_raw();
        }
        self.operator.resize();
        self.act(&Action::Forward(libc::SIGCONT));
    }

    fn hear(&mut self, index: usize) {
        let Some((message, mut fds)) = self.cells[index].hear() else { return };
        let piece = self.cells[index].cell.piece.clone();
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
                    self.cells[index].cell.ends.outputs.push(("terminal", output));
                }
            }
            FromInit::Prepared => {
                self.cells[index].served = true;
                if let Some(input) = self.cells[index].cell.ends.input.take() {
                    self.operator.take_input(input);
                }
                self.check_served();
            }
            FromInit::Exited(code) => self.program_ended(index, AgentEnd::Exited(code)),
            FromInit::Signaled(signal) => self.program_ended(index, AgentEnd::Signaled(signal)),
            FromInit::NotExecuted(number) => self.program_ended(index, AgentEnd::NotExecuted(number)),
            FromInit::Failed(failure) => {
                let what = format!("cannot start `{piece}`: {}", failure.what);
                self.fail(Error::failed(what, failure.cause, "`bottle doctor` shows what this host allows"));
            }
        }
    }

    /// The end of a sidecar is complete with that of its first process, which follows at once.
    fn program_ended(&mut self, index: usize, end: AgentEnd) {
        if self.cells[index].is_agent() {
            self.agent_ended(end);
        } else {
            self.cells[index].end = Some(end);
        }
    }

    fn agent_ended(&mut self, end: AgentEnd) {
        self.ending.agent(end);
        // The modes stay until the agent's last bytes are out: they must not be changed on the way.
        self.operator.let_signals_through();
        self.happen(&Happening::AgentEnded);
    }

    fn ended(&mut self, index: usize) {
        // What the process said last is heard first.
        while self.cells[index].talks && self.state <= State::Killing {
            self.hear(index);
        }
        let how = self.cells[index].reap();
        let piece = self.cells[index].cell.piece.clone();
        let is_agent = self.cells[index].is_agent();
        if is_agent && self.state == State::Starting {
            let what = "the bottle ended before its agent could start";
            self.fail(Error::failed(what, how, "`bottle doctor` shows what this host allows"));
        } else if is_agent && self.released {
            self.agent_ended(AgentEnd::Lost);
        } else if is_agent {
            // The start was called off, and why is known already.
        } else if self.state <= State::Running {
            let what = if self.state == State::Starting {
                format!("`{piece}` ended before it served")
            } else {
                format!("`{piece}` ended, and with it the agent's reach")
            };
            self.records.note("sidecar_ended", Level::Error, Some(format!("{piece}: {how}")));
            self.ending.failure(Error::failed(what, how, format!("`bottle logs {} {piece}` shows its last words", self.plan.id)));
            self.happen(&Happening::SidecarEnded);
        }
        if self.cells.iter().all(|live| !live.alive) {
            self.happen(&Happening::NobodyLeft);
        }
    }

    fn served(&mut self, index: usize) {
        let live = &mut self.cells[index];
        let mut buffer = [0; 64];
        let count = live.cell.ends.ready.as_ref().and_then(|fd| rustix::io::read(fd, &mut buffer).ok()).unwrap_or(0);
        live.cell.ends.ready = None;
        if buffer[..count] == *READY {
            live.served = true;
            return self.check_served();
        }
        // It has closed the descriptor without a word: its end follows at once, and tells more; or it never serves.
        let soon = Timespec { tv_sec: 0, tv_nsec: LAST_WORDS };
        if !matches!(poll(&mut [PollFd::new(&live.cell.pidfd, PollFlags::IN)], Some(&soon)), Ok(1..)) {
            let what = format!("`{}` does not serve", live.cell.piece);
            let hint = format!("`bottle logs {} {}` shows its last words", self.plan.id, live.cell.piece);
            self.fail(Error::failed(what, "it closed its readiness descriptor without a word", hint));
        }
    }

    fn check_served(&mut self) {
        let only_release = self.steps.len() == 1 && self.steps.front() == Some(&Step::Release);
        if self.state == State::Starting && only_release && self.cells.iter().all(|live| live.served) {
            self.happen(&Happening::Served);
        }
    }

    fn output(&mut self, index: usize, name: &'static str) {
        let mut buffer = vec![0; CHUNK];
        let is_agent = self.cells[index].is_agent();
        match self.cells[index].read(name, &mut buffer) {
            Some(count) => self.take(index, name, is_agent, &buffer[..count]),
            None => self.cells[index].close(name),
        }
        // Whoever reads our output has gone: the agent learns it as it would from any pipe.
        if is_agent && self.operator.relay(name).is_closed() && name != "terminal" {
            self.cells[index].close(name);
        }
    }

    fn take(&mut self, index: usize, name: &str, is_agent: bool, bytes: &[u8]) {
        if is_agent {
            self.operator.relay(name).push(bytes);
        }
        self.records.take(&self.cells[index].cell.piece, name, bytes);
    }

    /// Every process is gone: what they wrote is still in the pipes, and what was read may still wait for a slow reader.
    fn drain(&mut self) {
        let mut buffer = vec![0; CHUNK];
        for index in 0..self.cells.len() {
            let is_agent = self.cells[index].is_agent();
            while let Some((name, fd)) = self.cells[index].cell.ends.outputs.first() {
                let name = *name;
                let _ = rustix::io::ioctl_fionbio(fd, true);
                match rustix::io::read(&self.cells[index].cell.ends.outputs[0].1, &mut buffer) {
                    Ok(count) if count > 0 => self.take(index, name, is_agent, &buffer[..count]),
                    Err(rustix::io::Errno::INTR) => {}
                    _ => drop(self.cells[index].cell.ends.outputs.remove(0)),
                }
            }
        }
        self.cells.clear();
        let deadline = Instant::now() + LAST_BYTES;
        while self.operator.waits() && Instant::now() < deadline {
            for token in self.ready(Some(deadline)) {
                match token {
                    Token::Stdout => self.operator.stdout.pump(),
                    Token::Stderr => self.operator.stderr.pump(),
                    // A second signal hurries.
                    Token::Signals if !self.signals.take().is_empty() => return self.operator.leave_raw(),
                    _ => {}
                }
            }
        }
        self.operator.leave_raw();
    }

    fn finish(mut self) -> (Ending, BTreeMap<String, u64>) {
        let dropped = self.records.finish();
        if let Err(error) = self.records.flush() {
            self.ending.failure(error);
        }
        (self.ending, dropped)
    }
}
