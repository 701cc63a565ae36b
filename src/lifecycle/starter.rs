//! The start: step after step, until every component serves and the agent may run.

use bottle_contract::event::Level;
use bottle_init::control::ToInit;

use super::processes::WatchedProcess;
use super::state_machine::State;
use super::watch::Watch;
use crate::backend::Effect;
use crate::error::{Error, Result};
use crate::plan::Step;
use crate::store::Phase;

impl Watch<'_> {
    /// Performs steps until one must wait for something.
    pub(super) fn advance(&mut self) {
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
    fn applied(&mut self, applied: Result<Effect>) -> bool {
        match applied {
            Ok(Effect::Done) => {}
            Ok(Effect::Spawned(process)) => self.processes.push(WatchedProcess::new(process)),
            Ok(Effect::SpawnedThenListeners(process)) => {
                self.processes.push(WatchedProcess::new(process));
                self.waits_for_listeners = true;
            }
            Ok(Effect::Pending(fd)) => self.waiting = Some(fd),
            Err(error) => {
                // A step that a signal called off has not failed.
                self.receive_signals();
                if self.state == State::Starting {
                    self.fail(error);
                }
                return false;
            }
        }
        for sentence in self.backend.notes() {
            self.operator.stderr.push(format!("note: {sentence}\n").as_bytes());
            self.records.note("left_out", Level::Warn, Some(sentence));
        }
        if let Some(Err(error)) = self.processes.last().map(|watched| self.records.open(&watched.handle.component)) {
            self.fail(error);
            return false;
        }
        true
    }

    /// The step that waited goes on.
    pub(super) fn resume(&mut self) {
        self.waiting = None;
        if self.state == State::Starting {
            let applied = self.backend.resume(self.claim);
            if self.applied(applied) {
                self.advance();
                self.check_ready();
            }
        }
    }

    pub(super) fn release(&mut self) {
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
        self.processes.iter().filter(|watched| watched.is_agent()).for_each(|watched| watched.send(&ToInit::Start));
    }
}
