//! What the loop waits for: the processes, the signals, and the time of the state.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::operator::Operator;
use super::processes::Processes;
use super::readiness::Readiness;
use super::signal_queue::SignalQueue;
use super::stage::Stage;
use super::state_machine::{State, Times};
use super::supervision::Supervision;
use crate::control_socket::{ClientId, Server};
use crate::signals::Signals;

/// How long sidecars may go on writing before they are read again: what a busy proxy reports is taken in batches. A pipe holds 64 KiB,
/// which is more than a proxy's events of this time.
const BATCH_INTERVAL: Duration = Duration::from_millis(2);

/// What is waited for.
pub(super) struct Watch<'r> {
    /// The components that run.
    pub(super) processes: Processes,
    /// What arrives.
    pub(super) signals: SignalQueue<'r>,
    /// The state.
    pub(super) stage: Stage,
    /// When a sidecar's output was read last.
    last_batch: Option<Instant>,
}

/// What a descriptor that became ready belongs to.
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
    /// Somebody connects to the operators' socket.
    Connect,
    FromClient(ClientId),
    ToClient(ClientId),
    GrantEnd,
    /// `supervise` says something.
    Questions,
    /// Something waits for `supervise`.
    Replies,
    /// A signature has been verified.
    Verified,
}

/// What the policy is changed through, and until when something must happen.
pub(super) struct PolicyWatch<'w> {
    pub(super) server: &'w Server,
    pub(super) grant_timer: BorrowedFd<'w>,
    pub(super) supervision: Option<&'w Supervision>,
    pub(super) deadline: Option<Instant>,
}

impl<'r> Watch<'r> {
    /// Of a run that begins.
    pub(super) fn new(signals: &'r mut Signals, times: Times) -> Self {
        Self {
            processes: Processes::default(),
            signals: SignalQueue::new(signals),
            stage: Stage::new(times, Instant::now()),
            last_batch: None,
        }
    }

    /// The state.
    pub(super) fn state(&self) -> State {
        self.stage.state()
    }

    /// A sidecar's output is read now.
    pub(super) fn begin_batch(&mut self) {
        self.last_batch = Some(Instant::now());
    }

    /// When the next sidecar must have said something, while an agent depends on it.
    pub(super) fn next_silence(&self) -> Option<Instant> {
        (self.state() == State::Running).then(|| self.processes.next_silence()).flatten()
    }

    /// The descriptors on which something can be done now, in the order of the work. `step` is what the start waits for.
    pub(super) fn wait(&self, operator: &Operator, step: Option<BorrowedFd<'_>>, policy: &PolicyWatch<'_>) -> Vec<Token> {
        let next_batch = self.last_batch.map(|last| last + BATCH_INTERVAL).filter(|next| *next > Instant::now());
        let mut readiness = Readiness::new();
        readiness.read(Token::Signals, self.signals.as_fd());
        let relays = [(Token::Stdout, &operator.stdout), (Token::Stderr, &operator.stderr), (Token::ToAgent, &operator.agent)];
        for (token, relay) in relays {
            if let Some(fd) = relay.blocked_on() {
                readiness.write(token, fd);
            }
        }
        if let (State::Starting, Some(fd)) = (self.state(), step) {
            readiness.read(Token::Step, fd);
        }
        if let (State::Running, Some(fd)) = (self.state(), operator.input()) {
            readiness.read(Token::Stdin, fd);
        }
        readiness.read(Token::Connect, policy.server.socket());
        policy.server.inputs().for_each(|(id, fd)| readiness.read(Token::FromClient(id), fd));
        policy.server.outputs().for_each(|(id, fd)| readiness.write(Token::ToClient(id), fd));
        if self.state() == State::Running {
            readiness.read(Token::GrantEnd, policy.grant_timer);
        }
        if let Some(supervision) = policy.supervision {
            supervision.channel.input().into_iter().for_each(|fd| readiness.read(Token::Questions, fd));
            supervision.channel.output().into_iter().for_each(|fd| readiness.write(Token::Replies, fd));
            supervision.verification.iter().for_each(|verification| readiness.read(Token::Verified, verification.fd()));
        }
        for (index, process) in self.processes.iter() {
            for (name, fd) in &process.handle.stdio.outputs {
                if if process.is_agent() { operator.has_room(name) } else { next_batch.is_none() } {
                    readiness.read(Token::Output(index, name), fd.as_fd());
                }
            }
            if let Some(fd) = &process.handle.stdio.ready {
                readiness.read(Token::Ready(index), fd.as_fd());
            }
            if process.talks {
                readiness.read(Token::Control(index), process.handle.control.as_fd());
            }
            if process.alive {
                readiness.read(Token::Process(index), process.handle.pidfd.as_fd());
            }
        }
        readiness.wait(next_batch.into_iter().chain(self.stage.deadline()).chain(self.next_silence()).chain(policy.deadline).min())
    }
}
