//! The start: step after step, until nothing is left to do but to let the agent run.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::backend::{Backend, Effect, Input, Listener, Process, Products, Resume, Start};
use crate::error::{Error, Result};
use crate::plan::{Plan, Step};
use crate::store::Claim;
use crate::values::Values;

/// The steps of a plan, and what they wait for.
pub(super) struct Starter<'r> {
    plan: &'r Plan,
    backend: Box<dyn Backend>,
    input: Input,
    products: Products,
    steps: VecDeque<Step>,
    /// What the next step must wait for.
    waits: Waits,
    released: bool,
}

/// What a start waits for.
enum Waits {
    /// Nothing: the next step can be performed.
    Nothing,
    /// A step that has begun.
    Step(OwnedFd, Box<dyn Resume>),
    /// The sockets that a component opens.
    Sockets(Vec<Listener>),
}

/// What a step has led to.
#[derive(Debug)]
pub(super) enum Progress {
    /// Sentences for the operator.
    Done(Vec<String>),
    /// A component runs.
    Spawned(Process),
    /// The step goes on later.
    Waits,
}

impl<'r> Starter<'r> {
    /// Nothing is performed yet.
    pub(super) fn new(plan: &'r Plan, backend: Box<dyn Backend>, input: Input) -> Self {
        let steps = plan.steps.iter().cloned().collect();
        Self { plan, backend, input, products: Products::default(), steps, waits: Waits::Nothing, released: false }
    }

    /// Performs the next step; nothing while one waits, and when only the release is left.
    pub(super) fn advance(&mut self, claim: &mut Claim) -> Option<Result<Progress>> {
        if !matches!(self.waits, Waits::Nothing) || matches!(self.steps.front(), Some(Step::Release) | None) {
            return None;
        }
        let step = self.steps.pop_front()?;
        let mut start = Start { plan: self.plan, input: &self.input, products: &mut self.products, claim };
        let applied = self.backend.apply(&step, &mut start);
        Some(applied.map(|effect| self.take(effect)))
    }

    /// The step that waited goes on.
    pub(super) fn resume(&mut self, claim: &mut Claim) -> Result<Progress> {
        match std::mem::replace(&mut self.waits, Waits::Nothing) {
            Waits::Step(_, step) => {
                let mut start = Start { plan: self.plan, input: &self.input, products: &mut self.products, claim };
                step.resume(&mut start).map(|effect| self.take(effect))
            }
            other => {
                self.waits = other;
                Ok(Progress::Waits)
            }
        }
    }

    fn take(&mut self, effect: Effect) -> Progress {
        match effect {
            Effect::Done(notes) => Progress::Done(notes),
            Effect::Spawned(process) => {
                if !process.opens.is_empty() {
                    self.waits = Waits::Sockets(process.opens.clone());
                }
                Progress::Spawned(process)
            }
            Effect::Pending(fd, step) => {
                self.waits = Waits::Step(fd, step);
                Progress::Waits
            }
        }
    }

    /// A component has opened its sockets.
    pub(super) fn opened(&mut self, sockets: Vec<OwnedFd>) -> Result<()> {
        let expected = match &self.waits {
            Waits::Sockets(listeners) => listeners.clone(),
            Waits::Nothing | Waits::Step(..) => Vec::new(),
        };
        if sockets.len() != expected.len() {
            let cause = format!("{} were expected, {} came", expected.len(), sockets.len());
            return Err(Error::failed("the agent's network did not open its sockets", cause, "this is a bug in bottle: please report it"));
        }
        self.waits = Waits::Nothing;
        expected.into_iter().zip(sockets).for_each(|(listener, socket)| self.products.put(listener, socket));
        Ok(())
    }

    /// Readable when the step that waits can go on.
    pub(super) fn pending(&self) -> Option<BorrowedFd<'_>> {
        match &self.waits {
            Waits::Step(fd, _) => Some(fd.as_fd()),
            Waits::Nothing | Waits::Sockets(_) => None,
        }
    }

    /// The error of a step that waits for too long.
    pub(super) fn overdue(&self) -> Option<Error> {
        match &self.waits {
            Waits::Step(_, step) => Some(step.overdue()),
            Waits::Nothing | Waits::Sockets(_) => None,
        }
    }

    /// True once every step but the release has been performed to its end.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.waits, Waits::Nothing) && self.steps.len() == 1 && self.steps.front() == Some(&Step::Release)
    }

    /// The agent may run. What only the start needed, secrets first of all, is forgotten.
    pub(super) fn release(&mut self) {
        self.steps.clear();
        self.input.values = Values::nothing();
        self.released = true;
    }

    /// The connection to `supervise`, once.
    pub(super) fn take_supervise(&mut self) -> Option<OwnedFd> {
        self.products.supervise.take()
    }

    /// True once the agent may run.
    pub(super) fn is_released(&self) -> bool {
        self.released
    }

    /// Calls off what waits, and drops what nobody took. Whoever performed the steps undoes them.
    pub(super) fn end(self) -> Box<dyn Backend> {
        self.backend
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Images, Logs};
    use crate::lifecycle::test_home;
    use crate::plan::testing::bare;
    use crate::store::Object;

    /// A backend whose sidecar steps wait, as on an engine.
    struct Waiting;

    #[derive(Debug)]
    struct Container;

    impl Resume for Container {
        fn resume(self: Box<Self>, _start: &mut Start<'_>) -> Result<Effect> {
            Ok(Effect::Done(Vec::new()))
        }

        fn overdue(&self) -> Error {
            Error::failed("the container did not call", "it is slow", "wait")
        }
    }

    impl Backend for Waiting {
        fn check(&self, _plan: &Plan) -> Result<Vec<String>> {
            Ok(Vec::new())
        }

        fn apply(&mut self, step: &Step, _start: &mut Start<'_>) -> Result<Effect> {
            Ok(match step {
                Step::Sidecar(_) => {
                    Effect::Pending(rustix::event::eventfd(1, rustix::event::EventfdFlags::empty()).unwrap(), Box::new(Container))
                }
                _ => Effect::Done(vec![step.to_string()]),
            })
        }

        fn undo(&mut self, _object: &Object, _claim: &Claim, _logs: Logs) -> Result<()> {
            Ok(())
        }
    }

    // covers: L04
    #[test]
    fn a_start_is_complete_only_when_its_last_step_has_come_to_an_end() {
        let bottle = test_home::Bottle::new();
        let plan = Plan { steps: vec![Step::Limits, Step::Sidecar("egress".to_owned()), Step::Release], ..bare() };
        let mut claim = bottle.claim();
        let input = Input { values: Values::nothing(), window: (0, 0), images: Images::default() };
        let mut starter = Starter::new(&plan, Box::new(Waiting), input);
        assert!(matches!(starter.advance(&mut claim), Some(Ok(Progress::Done(notes))) if notes == ["set the limits"]));
        assert!(matches!(starter.advance(&mut claim), Some(Ok(Progress::Waits))));
        // The release is the only step that is left, and the sidecar does not run yet.
        assert!(starter.advance(&mut claim).is_none() && !starter.is_complete());
        assert!(starter.pending().is_some());
        assert_eq!(starter.overdue().unwrap().what, "the container did not call");
        assert!(matches!(starter.resume(&mut claim), Ok(Progress::Done(_))));
        assert!(starter.is_complete() && starter.pending().is_none());
    }

    #[test]
    fn sockets_that_nobody_expects_are_an_error() {
        let plan = bare();
        let input = Input { values: Values::nothing(), window: (0, 0), images: Images::default() };
        let mut starter = Starter::new(&plan, Box::new(Waiting), input);
        let socket = std::os::unix::net::UnixStream::pair().unwrap().0;
        assert_eq!(starter.opened(vec![socket.into()]).unwrap_err().cause, "0 were expected, 1 came");
    }
}
