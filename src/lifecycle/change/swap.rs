//! One change on its way through the sidecars, as a state machine. Pure: time comes in as data, and what is to be done goes out.
//!
//! | state | an input | next |
//! |---|---|---|
//! | forward, at a sidecar | it acknowledges this generation | the next sidecar, or done |
//! | forward, at a sidecar | it refuses, or its time is up | back, from the first to this one |
//! | back, at a sidecar | it acknowledges the generation that goes back | the next sidecar, or undone |
//! | back, at a sidecar | it refuses, or its time is up | lost |
//!
//! Generations only grow, so what goes back has a number of its own, and the content of what was in force.

use std::time::{Duration, Instant};

use crate::error::Error;

/// How long a sidecar may take to acknowledge a generation. A scanner's rules are compiled in a tenth of a second.
pub(crate) const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(5);

/// A change on its way.
#[derive(Debug)]
pub(crate) struct Swap {
    generation: u64,
    components: Vec<String>,
    at: usize,
    deadline: Instant,
    /// Why it goes back.
    cause: Option<Error>,
}

/// What an input leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Wait,
    /// This sidecar gets this generation.
    Replace(String, u64),
    /// Every sidecar has it.
    Done(u64),
    /// Every sidecar is back at what was in force, under this number.
    Undone(u64, Error),
    /// A sidecar has neither acknowledged the change nor the way back: nobody knows what it enforces.
    Lost(Error),
}

impl Swap {
    /// A change of these sidecars, of which there is at least one, in this order; the first gets it now.
    pub(crate) fn new(generation: u64, components: Vec<String>, now: Instant) -> Self {
        Self { generation, components, at: 0, deadline: now + ACKNOWLEDGE_TIMEOUT, cause: None }
    }

    /// The sidecar whose acknowledgement it waits for.
    pub(crate) fn component(&self) -> &str {
        &self.components[self.at]
    }

    /// Until when.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What the first sidecar gets.
    pub(crate) fn first(&self) -> Step {
        Step::Replace(self.component().to_owned(), self.generation)
    }

    /// A sidecar has this generation in force.
    pub(crate) fn acknowledged(&mut self, component: &str, generation: u64, now: Instant) -> Step {
        // An acknowledgement of what was given up may come late.
        if (component, generation) != (self.component(), self.generation) {
            return Step::Wait;
        }
        self.at += 1;
        if self.at < self.components.len() {
            self.deadline = now + ACKNOWLEDGE_TIMEOUT;
            return self.first();
        }
        match self.cause.take() {
            None => Step::Done(self.generation),
            Some(cause) => Step::Undone(self.generation, cause),
        }
    }

    /// The sidecar that has its turn refuses, or cannot be given it. Whoever had its turn goes back: also this one may have the change.
    pub(crate) fn failed(&mut self, component: &str, error: Error, now: Instant) -> Step {
        if component != self.component() {
            return Step::Wait;
        }
        if self.cause.is_some() {
            return Step::Lost(error);
        }
        self.cause = Some(error);
        self.components.truncate(self.at + 1);
        (self.generation, self.at, self.deadline) = (self.generation + 1, 0, now + ACKNOWLEDGE_TIMEOUT);
        self.first()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Instant) -> Step {
        if now < self.deadline {
            return Step::Wait;
        }
        let component = self.component().to_owned();
        let what = format!("`{component}` has not acknowledged the new policy");
        let cause = format!("{} s have passed", ACKNOWLEDGE_TIMEOUT.as_secs());
        self.failed(&component, Error::failed(what, cause, "`bottle logs` shows what it does"), now)
    }

    /// True on the way back: sidecars get what was in force.
    pub(crate) fn goes_back(&self) -> bool {
        self.cause.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swap(now: Instant) -> Swap {
        Swap::new(4, ["pipelock", "egress"].map(str::to_owned).to_vec(), now)
    }

    fn replace(component: &str, generation: u64) -> Step {
        Step::Replace(component.to_owned(), generation)
    }

    fn refusal() -> Error {
        Error::failed("it refuses", "a bad file", "look")
    }

    #[test]
    fn each_sidecar_has_its_turn_after_the_one_before_has_acknowledged() {
        let now = Instant::now();
        let mut swap = swap(now);
        assert_eq!(swap.first(), replace("pipelock", 4));
        // Of another generation, and of one that has not its turn.
        assert_eq!(swap.acknowledged("pipelock", 3, now), Step::Wait);
        assert_eq!(swap.acknowledged("egress", 4, now), Step::Wait);
        assert_eq!(swap.failed("egress", refusal(), now), Step::Wait);
        assert_eq!(swap.acknowledged("pipelock", 4, now), replace("egress", 4));
        assert_eq!(swap.acknowledged("egress", 4, now), Step::Done(4));
    }

    #[test]
    fn a_refusal_puts_back_whoever_had_its_turn_under_a_number_of_its_own() {
        let now = Instant::now();
        let mut first = swap(now);
        assert_eq!(first.failed("pipelock", refusal(), now), replace("pipelock", 5));
        assert!(first.goes_back());
        assert_eq!(first.acknowledged("pipelock", 4, now), Step::Wait);
        assert_eq!(first.acknowledged("pipelock", 5, now), Step::Undone(5, refusal()));
        let mut second = swap(now);
        second.acknowledged("pipelock", 4, now);
        assert_eq!(second.failed("egress", refusal(), now), replace("pipelock", 5));
        assert_eq!(second.acknowledged("pipelock", 5, now), replace("egress", 5));
        assert_eq!(second.acknowledged("egress", 5, now), Step::Undone(5, refusal()));
    }

    #[test]
    fn a_sidecar_that_is_silent_fails_in_time_and_twice_is_lost() {
        let now = Instant::now();
        let mut swap = swap(now);
        let later = now + ACKNOWLEDGE_TIMEOUT;
        assert_eq!(swap.tick(later - Duration::from_millis(1)), Step::Wait);
        assert_eq!(swap.tick(later), replace("pipelock", 5));
        assert_eq!(swap.tick(later), Step::Wait);
        let Step::Lost(error) = swap.tick(later + ACKNOWLEDGE_TIMEOUT) else { panic!("{swap:?}") };
        assert_eq!(error.what, "`pipelock` has not acknowledged the new policy");
    }
}
