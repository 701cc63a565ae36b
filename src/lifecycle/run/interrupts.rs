//! Signals of the operator and the system, and pauses.

use std::time::Instant;

use bottle_contract::event::Level;
use bottle_init::control::ToInit;
use nix::sys::signal::{Signal, raise};

use super::Run;
use crate::lifecycle::state_machine::{Event, State};
use crate::lifecycle::{drain, outcome};
use crate::signals;
use crate::sys::disposition::stop_as_a_job;
use crate::terminal::MESSAGE_TIMEOUT;

impl Run<'_> {
    pub(super) fn receive_signals(&mut self) {
        for signal in self.watch.signals.take() {
            match signal {
                libc::SIGWINCH => self.operator.resize(),
                libc::SIGTSTP => {
                    self.forward(libc::SIGSTOP);
                    // Whoever stops this process can let it go on.
                    self.pause(|| {
                        let _ = raise(Signal::SIGSTOP);
                    });
                }
                libc::SIGCONT => {}
                libc::SIGUSR1 | libc::SIGUSR2 => self.forward(signal),
                _ => {
                    self.outcome.signal(signal);
                    self.records.note("signal", Level::Info, Some(outcome::name(signal)));
                    // Of bottle's own alarm, time and power the agent knows nothing.
                    let known = matches!(signal, libc::SIGINT | libc::SIGQUIT | libc::SIGHUP);
                    self.dispatch(Event::Signal(if known { signal } else { libc::SIGTERM }));
                }
            }
        }
    }

    /// Sends the agent a signal, if it runs: before, it could neither be asked nor be stopped.
    fn forward(&self, signal: i32) {
        if self.starter.is_released() {
            self.watch.processes.send_to_agent(&ToInit::Signal(signal));
        }
    }

    /// The agent has stopped itself, as a program does at Ctrl-Z. No shell inside can let it go on: the operator's does, with `fg`; without
    /// one it goes on at once.
    pub(super) fn agent_stopped(&mut self, index: usize) {
        if self.plan.agent.terminal && self.state() == State::Running {
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
        drain::pump(&mut self.operator, &mut self.watch.signals, MESSAGE_TIMEOUT);
        self.operator.leave_raw();
        stop();
        self.watch.stage.pause(stopped.elapsed());
        // One that goes on to end has no use for the terminal, and would be stopped again if it is another's now.
        if self.plan.agent.terminal && self.state() == State::Running && signals::asked().is_none() {
            self.operator.enter_raw();
            self.operator.set_modes_again();
        }
        self.operator.resize();
        self.forward(libc::SIGCONT);
        // Its picture may be gone, even if the window has the same size.
        self.forward(libc::SIGWINCH);
        if self.watch.signals.has_postponed() {
            self.receive_signals();
        }
    }
}
