//! The loop: one thread, one poll, from the first step to the last byte.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bottle_contract::event::{Event, Level};
use bottle_contract::handoff::READY;
use bottle_init::control::{FromInit, ToInit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{Winsize, tcsetwinsize};

use super::cells::{AGENT, Live};
use super::end::{AgentEnd, Ending};
use super::relay::Relay;
use super::table::{Action, Happening, State, Times, limit, step};
use crate::backend::{Applied, Backend};
use crate::clock;
use crate::error::{Error, Result};
use crate::files::Dir;
use crate::logs::{PieceLog, Source, Stream};
use crate::plan::{Plan, Step};
use crate::signals::Signals;
use crate::store::{Claim, Phase};
use crate::terminal::{self, Raw};
use crate::timeline::Timeline;

/// Bytes read at one time.
const CHUNK: usize = 64 * 1024;
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
        timeline,
        signals,
        wishes,
        logs,
        piece_logs: BTreeMap::new(),
        cells: Vec::new(),
        state: State::Starting,
        since: Instant::now(),
        waits_for_listeners: false,
        released: false,
        ending: Ending::default(),
        to_stdout: Relay::to(terminal::without_blocking(stdout())),
        to_stderr: Relay::to(terminal::without_blocking(stderr())),
        to_agent: Relay::default(),
        stdin_open: wishes.feed,
        raw: None,
        master: None,
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
    timeline: &'r mut Timeline,
    signals: &'r mut Signals,
    wishes: Wishes,
    logs: Dir,
    piece_logs: BTreeMap<String, PieceLog>,
    cells: Vec<Live>,
    state: State,
    since: Instant,
    waits_for_listeners: bool,
    released: bool,
    ending: Ending,
    to_stdout: Relay,
    to_stderr: Relay,
    to_agent: Relay,
    stdin_open: bool,
    raw: Option<Raw>,
    master: Option<OwnedFd>,
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
}

impl Watch<'_> {
    /// Performs steps until one must wait for something.
    fn advance(&mut self) {
        while self.state == State::Starting && !self.waits_for_listeners {
            match self.steps.front() {
                Some(Step::Release) | None => return,
                Some(_) => {}
            }
            let Some(next) = self.steps.pop_front() else { return };
            match self.backend.apply(&next, self.claim) {
                Ok(Applied::Done) => {}
                Ok(Applied::Piece(cell)) => self.cells.push(Live::new(cell)),
                Ok(Applied::PieceThenListeners(cell)) => {
                    self.cells.push(Live::new(cell));
                    self.waits_for_listeners = true;
                }
                Err(error) => return self.fail(error),
            }
            for sentence in self.backend.left_out() {
                self.to_stderr.push(format!("note: {sentence}\n").as_bytes());
                self.note("left_out", Level::Warn, Some(sentence));
            }
            if let Some(piece) = self.cells.last().map(|live| live.cell.piece.clone())
                && !self.piece_logs.contains_key(&piece)
            {
                let source = if piece == AGENT { Source::Agent } else { Source::Sidecar };
                match PieceLog::create(&self.logs, &piece, source) {
                    Ok(log) => drop(self.piece_logs.insert(piece, log)),
                    Err(error) => return self.fail(error),
                }
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
        self.let_signals_through();
    }

    /// The operator's keys are bottle's again.
    fn let_signals_through(&self) {
        if let Some(raw) = &self.raw {
            raw.let_signals_through();
        }
    }

    fn act(&mut self, action: &Action) {
        let agents = |kind: bool| move |live: &&Live| live.is_agent() == kind;
        match action {
            Action::Release => self.release(),
            Action::Forward(signal) => self.cells.iter().filter(agents(true)).for_each(|live| live.tell(&ToInit::Signal(*signal))),
            Action::KillAgent => {
                self.ending.killed();
                self.cells.iter().filter(agents(true)).for_each(|live| live.signal(Signal::KILL));
            }
            Action::StopSidecars => {
                // The agent's namespace is gone before anything that judges its requests is.
                self.cells.iter().filter(agents(true)).for_each(|live| live.signal(Signal::KILL));
                self.cells.iter().filter(agents(false)).for_each(|live| live.signal(Signal::TERM));
            }
            Action::KillSidecars => {
                let alive: Vec<String> =
                    self.cells.iter().filter(agents(false)).filter(|live| live.alive).map(|live| live.cell.piece.clone()).collect();
                self.cells.iter().filter(agents(false)).for_each(|live| live.signal(Signal::KILL));
                for piece in alive {
                    self.note("sidecar_killed", Level::Warn, Some(piece));
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
        self.note("started", Level::Info, None);
        if self.plan.agent.terminal {
            self.raw = Raw::enter();
        }
        self.backend.released();
        // From here on nobody reads this process' memory. Earlier, the children's identity maps could not be written.
        if let Err(e) = bottle_init::sys::set_undumpable() {
            return self.fail(Error::failed("cannot protect bottle's memory", e, "see if another security module forbids prctl"));
        }
        self.cells.iter().filter(|live| live.is_agent()).for_each(|live| live.tell(&ToInit::Start));
    }

    /// Adds an event of the supervisor's own.
    fn note(&mut self, what: &str, level: Level, message: Option<String>) {
        let mut event = Event::new(clock::now(), level, what);
        event.message = message;
        if let Err(error) = self.timeline.append("bottle", &event) {
            self.ending.failure(error);
        }
    }

    /// Waits for whatever comes next, and takes it.
    fn turn(&mut self) {
        if self.timeline.flush().map_err(|e| self.ending.failure(e)).is_err() && self.state <= State::Running {
            self.happen(&Happening::Failed);
        }
        let deadline = limit(self.state, &self.wishes.times).map(|time| self.since + time);
        for token in self.ready(deadline) {
            match token {
                Token::Signals => self.hear_signals(),
                Token::Stdin => self.feed(),
                Token::Stdout => self.to_stdout.pump(),
                Token::Stderr => self.to_stderr.pump(),
                Token::ToAgent => self.to_agent.pump(),
                Token::Control(index) => self.hear(index),
                Token::Process(index) => self.ended(index),
                Token::Ready(index) => self.served(index),
                Token::Output(index, name) => self.output(index, name),
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
            self.ending.failure(Error::failed(
                what,
                format!("{:?} have passed", self.wishes.times.start),
                "its log is kept: `bottle logs`",
            ));
        } else if self.state == State::Running {
            self.note("time_limit", Level::Warn, None);
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
        let relays = [(Token::Stdout, &self.to_stdout), (Token::Stderr, &self.to_stderr), (Token::ToAgent, &self.to_agent)];
        for (token, relay) in relays {
            if let Some(fd) = relay.blocked_on() {
                add(token, fd, PollFlags::OUT);
            }
        }
        if self.stdin_open && self.state == State::Running && self.to_agent.has_room() && !self.to_agent.is_closed() {
            add(Token::Stdin, stdin(), PollFlags::IN);
        }
        for (index, live) in self.cells.iter().enumerate() {
            for (name, fd) in &live.cell.outputs {
                let relay = if *name == "stderr" { &self.to_stderr } else { &self.to_stdout };
                if !live.is_agent() || relay.has_room() {
                    add(Token::Output(index, name), fd.as_fd(), PollFlags::IN);
                }
            }
            if let Some(fd) = &live.cell.ready {
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
                libc::SIGWINCH => self.resize(),
                libc::SIGTSTP => self.suspend(),
                libc::SIGCONT => {}
                libc::SIGUSR1 | libc::SIGUSR2 => self.act(&Action::Forward(signal)),
                _ => {
                    self.ending.signal(signal);
                    self.note("signal", Level::Info, Some(super::end::name(signal)));
                    self.happen(&Happening::Signal(signal));
                }
            }
        }
    }

    fn resize(&mut self) {
        if let Some(master) = &self.master {
            let (rows, columns) = terminal::window();
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // A terminal that is gone has no size.
            let _ = tcsetwinsize(master, size);
        }
    }

    /// Stops with the agent, as a job of the operator's shell does, and goes on with it. The pause does not count.
    fn suspend(&mut self) {
        let stopped = Instant::now();
        self.act(&Action::Forward(libc::SIGSTOP));
        self.raw = None;
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
        self.since += stopped.elapsed();
        if self.plan.agent.terminal && self.state == State::Running {
            self.raw = Raw::enter();
        }
        self.resize();
        self.act(&Action::Forward(libc::SIGCONT));
    }

    fn feed(&mut self) {
        let mut buffer = [0; CHUNK];
        match rustix::io::read(stdin(), &mut buffer) {
            Ok(0) | Err(rustix::io::Errno::IO) => {
                self.stdin_open = false;
                if self.master.is_none() {
                    self.to_agent.end();
                }
            }
            Ok(count) => self.to_agent.push(&buffer[..count]),
            Err(_) => {}
        }
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
                self.master = fds.pop();
                let copy = |fd: &Option<OwnedFd>| fd.as_ref().and_then(|fd| fd.try_clone().ok());
                if let Some(output) = copy(&self.master) {
                    let _ = rustix::io::ioctl_fionbio(&output, true);
                    self.cells[index].cell.outputs.push(("terminal", output));
                }
                self.to_agent = Relay::to(copy(&self.master));
                // The window may have changed since the specification was written.
                self.resize();
            }
            FromInit::Prepared => {
                self.cells[index].served = true;
                if let Some(input) = self.cells[index].cell.input.take() {
                    let _ = rustix::io::ioctl_fionbio(&input, true);
                    self.to_agent = Relay::to(Some(input));
                    if !self.wishes.feed {
                        self.to_agent.end();
                    }
                }
                self.check_served();
            }
            FromInit::Exited(code) => self.agent_ended(AgentEnd::Exited(code)),
            FromInit::Signaled(signal) => self.agent_ended(AgentEnd::Signaled(signal)),
            FromInit::NotExecuted(number) => self.agent_ended(AgentEnd::NotExecuted(number)),
            FromInit::Failed(failure) => {
                let what = format!("cannot start `{piece}`: {}", failure.what);
                self.fail(Error::failed(what, failure.cause, "`bottle doctor` shows what this host allows"));
            }
        }
    }

    fn agent_ended(&mut self, end: AgentEnd) {
        self.ending.agent(end);
        // The modes stay until the agent's last bytes are out: they must not be changed on the way.
        self.let_signals_through();
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
            self.note("sidecar_ended", Level::Error, Some(format!("{piece}: {how}")));
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
        let count = live.cell.ready.as_ref().and_then(|fd| rustix::io::read(fd, &mut buffer).ok()).unwrap_or(0);
        live.cell.ready = None;
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
        let relay = if name == "stderr" { &self.to_stderr } else { &self.to_stdout };
        if is_agent && relay.is_closed() && name != "terminal" {
            self.cells[index].close(name);
        }
    }

    fn take(&mut self, index: usize, name: &str, is_agent: bool, bytes: &[u8]) {
        if is_agent {
            let relay = if name == "stderr" { &mut self.to_stderr } else { &mut self.to_stdout };
            relay.push(bytes);
        }
        let stream = match name {
            "stdout" => Stream::Stdout,
            "stderr" => Stream::Stderr,
            _ => Stream::Terminal,
        };
        let piece = &self.cells[index].cell.piece;
        let (timeline, ending) = (&mut *self.timeline, &mut self.ending);
        if let Some(log) = self.piece_logs.get_mut(piece) {
            log.push(stream, bytes, &mut |event| {
                if let Err(error) = timeline.append(piece, event) {
                    ending.failure(error);
                }
            });
        }
    }

    /// Every process is gone: what they wrote is still in the pipes, and what was read may still wait for a slow reader.
    fn drain(&mut self) {
        let mut buffer = vec![0; CHUNK];
        for index in 0..self.cells.len() {
            let is_agent = self.cells[index].is_agent();
            while let Some((name, fd)) = self.cells[index].cell.outputs.first() {
                let name = *name;
                let _ = rustix::io::ioctl_fionbio(fd, true);
                match rustix::io::read(&self.cells[index].cell.outputs[0].1, &mut buffer) {
                    Ok(count) if count > 0 => self.take(index, name, is_agent, &buffer[..count]),
                    Err(rustix::io::Errno::INTR) => {}
                    _ => drop(self.cells[index].cell.outputs.remove(0)),
                }
            }
        }
        self.cells.clear();
        let deadline = Instant::now() + LAST_BYTES;
        while [&self.to_stdout, &self.to_stderr].iter().any(|relay| relay.blocked_on().is_some()) && Instant::now() < deadline {
            for token in self.ready(Some(deadline)) {
                match token {
                    Token::Stdout => self.to_stdout.pump(),
                    Token::Stderr => self.to_stderr.pump(),
                    // A second signal hurries.
                    Token::Signals if !self.signals.take().is_empty() => return self.raw = None,
                    _ => {}
                }
            }
        }
        self.raw = None;
    }

    fn finish(mut self) -> (Ending, BTreeMap<String, u64>) {
        let mut dropped = BTreeMap::new();
        let (timeline, ending) = (&mut *self.timeline, &mut self.ending);
        for (piece, log) in std::mem::take(&mut self.piece_logs) {
            let drops = log.finish(&mut |event| {
                if let Err(error) = timeline.append(&piece, event) {
                    ending.failure(error);
                }
            });
            if drops.bytes > 0 {
                dropped.insert(piece, drops.bytes);
            }
        }
        self.note("ended", Level::Info, None);
        (self.ending, dropped)
    }
}
