//! The state of a run, and since when: how long it may last. Time comes in as data.

use std::time::{Duration, Instant};

use super::state_machine::{State, Times, limit};

/// Where a run is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    state: State,
    since: Instant,
    times: Times,
}

impl Stage {
    /// A run that begins.
    pub(super) fn new(times: Times, now: Instant) -> Self {
        Self { state: State::Starting, since: now, times }
    }

    /// The state.
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// How long each state may take.
    pub(super) fn times(&self) -> &Times {
        &self.times
    }

    /// Goes on to a state; true if it is another one.
    pub(super) fn enter(&mut self, next: State, now: Instant) -> bool {
        if next == self.state {
            return false;
        }
        (self.state, self.since) = (next, now);
        true
    }

    /// When this state has lasted too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        limit(self.state, &self.times).map(|time| self.since + time)
    }

    /// A pause does not count.
    pub(super) fn pause(&mut self, length: Duration) {
        self.since += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(now: Instant) -> Stage {
        let second = Duration::from_secs(1);
        Stage::new(Times { start: second, run: Some(2 * second), grace: 3 * second, drain: 4 * second }, now)
    }

    #[test]
    fn each_state_has_its_own_time_from_when_it_began() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut stage = stage(begin);
        assert_eq!(stage.deadline(), Some(at(1)));
        assert!(stage.enter(State::Running, at(10)) && !stage.enter(State::Running, at(11)));
        assert_eq!((stage.state(), stage.deadline()), (State::Running, Some(at(12))));
        stage.enter(State::Killing, at(20));
        assert_eq!(stage.deadline(), None);
    }

    // covers: L16
    #[test]
    fn a_pause_does_not_shorten_the_time_of_an_agent() {
        let begin = Instant::now();
        let mut stage = stage(begin);
        stage.enter(State::Running, begin);
        stage.pause(Duration::from_secs(60));
        assert_eq!(stage.deadline(), Some(begin + Duration::from_secs(62)));
    }
}
