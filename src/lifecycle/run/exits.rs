//! What first processes say, and how they end.

use bottle_contract::event::Level;
use bottle_init::control::FromInit;

use super::Run;
use crate::error::Error;
use crate::lifecycle::outcome::AgentExit;
use crate::lifecycle::state_machine::{Event, State};

impl Run<'_> {
    pub(super) fn receive(&mut self, index: usize) {
        let process = self.watch.processes.get(index);
        let Some((message, mut fds)) = process.receive() else { return };
        let is_agent = process.is_agent();
        match message {
            FromInit::Listeners => match self.starter.opened(fds) {
                Ok(()) => self.advance(),
                Err(error) => self.fail(error),
            },
            FromInit::Terminal => {
                if let Some(output) = self.operator.take_terminal(fds.pop()) {
                    process.handle.stdio.outputs.push(("terminal", output));
                }
            }
            FromInit::Prepared => {
                process.served = true;
                if let Some(input) = process.handle.stdio.input.take() {
                    self.operator.take_input(input);
                }
                self.check_ready();
            }
            FromInit::Exited(code) => self.program_exited(index, AgentExit::Exited(code)),
            FromInit::Stopped(_) if is_agent => self.agent_stopped(index),
            FromInit::Stopped(_) => {}
            FromInit::Signaled(signal) => self.program_exited(index, AgentExit::Signaled(signal)),
            FromInit::NotExecuted(number) => self.program_exited(index, AgentExit::NotExecuted(number)),
            FromInit::Failed(failure) => {
                let what = format!("cannot start `{}`: {}", process.handle.component, failure.what);
                self.fail(Error::failed(what, failure.cause, "`bottle doctor` shows what this host allows"));
            }
        }
    }

    /// The end of a sidecar is complete with that of its first process, which follows at once.
    fn program_exited(&mut self, index: usize, exit: AgentExit) {
        let process = self.watch.processes.get(index);
        if process.is_agent() {
            self.agent_exited(exit);
        } else {
            process.end = Some(exit);
        }
    }

    fn agent_exited(&mut self, exit: AgentExit) {
        self.outcome.agent(exit);
        // The modes stay until the agent's last bytes are out: they must not be changed on the way.
        self.operator.let_signals_through();
        self.dispatch(Event::AgentExited);
    }

    pub(super) fn process_exited(&mut self, index: usize) {
        // What the process said last is heard first.
        while self.watch.processes.get(index).talks && self.state() <= State::Killing {
            self.receive(index);
        }
        let is_agent = self.watch.processes.get(index).is_agent();
        if !is_agent {
            self.read_all_output(index);
        }
        let process = self.watch.processes.get(index);
        let how = process.reap();
        let component = process.handle.component.clone();
        if is_agent && self.state() == State::Starting {
            let what = "the bottle ended before its agent could start";
            self.fail(Error::failed(what, how, "`bottle doctor` shows what this host allows"));
        } else if is_agent && self.starter.is_released() {
            self.agent_exited(AgentExit::Lost);
        } else if !is_agent && self.state() <= State::Running {
            let what = if self.state() == State::Starting {
                format!("`{component}` exited before it was ready")
            } else {
                format!("`{component}` exited; the agent has lost network access")
            };
            self.records.note("sidecar_ended", Level::Error, Some(format!("{component}: {how}")));
            self.outcome.failure(Error::failed(what, how, format!("`bottle logs {} {component}` shows its last words", self.plan.id)));
            self.dispatch(Event::SidecarExited);
        } else if self.watch.processes.all_exited() {
            // Why it ended is known already.
            self.dispatch(Event::AllExited);
        }
    }
}
