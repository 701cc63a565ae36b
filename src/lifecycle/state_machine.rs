//! The life of a bottle as one table: what is done in which state when something happens. Pure.
//!
//! | state | an event | what is done | next |
//! |---|---|---|---|
//! | starting | everyone serves | release the agent | running |
//! | starting | a signal, a failure, an end, the deadline | kill everyone | reaping |
//! | running | the agent ends | ask the sidecars to end | draining |
//! | running | a signal | forward it | stopping |
//! | running | a sidecar ends, a failure, the time limit | ask the agent to end | stopping |
//! | stopping | the agent ends | ask the sidecars to end | draining |
//! | stopping | an interrupt, the deadline | kill the agent | killing |
//! | killing | the agent ends | ask the sidecars to end | draining |
//! | draining | the deadline, an interrupt | kill the sidecars | reaping |
//! | draining, reaping | nobody is left | | over |
//!
//! Only a person's signal hurries (INT, QUIT): service managers, and two `bottle stop` at once, repeat TERM without meaning it.

use std::time::Duration;

/// Where a bottle is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The steps of the plan are performed.
    Starting,
    /// The agent runs.
    Running,
    /// The agent was asked to end.
    Stopping,
    /// The agent was killed.
    Killing,
    /// The agent has ended; the sidecars were asked to.
    Draining,
    /// Everyone was killed.
    Reaping,
    /// Nobody is left.
    Over,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Every sidecar serves, and the agent can start at once.
    AllReady,
    /// The agent ended.
    AgentExited,
    /// A sidecar ended.
    SidecarExited,
    /// The operator, or the system, asks for the end with this signal.
    Signal(i32),
    /// Bottle cannot go on.
    Failed,
    /// The time for this state has passed.
    Deadline,
    /// No component lives.
    AllExited,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Let the agent start.
    Release,
    /// Send a signal to the agent's process group.
    Forward(i32),
    /// End the agent's namespace at once.
    KillAgent,
    /// Ask the sidecars to end.
    StopSidecars,
    /// End the sidecars at once.
    KillSidecars,
}

/// How long each state may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// For the start.
    pub start: Duration,
    /// For the agent's run, if it is limited.
    pub run: Option<Duration>,
    /// For the agent to end by itself.
    pub grace: Duration,
    /// For the sidecars to end by themselves.
    pub drain: Duration,
}

/// The next state, and what is done on the way.
pub fn step(state: State, event: &Event) -> (State, Vec<Action>) {
    use Action::{Forward, KillAgent, KillSidecars, Release, StopSidecars};
    use Event as E;
    use State as S;
    match (state, event) {
        (S::Starting, E::AllReady) => (S::Running, vec![Release]),
        (S::Starting, E::AllExited) => (S::Over, vec![]),
        (S::Starting, _) => (S::Reaping, vec![KillAgent, KillSidecars]),
        (S::Running | S::Stopping | S::Killing, E::AgentExited) => (S::Draining, vec![StopSidecars]),
        (S::Running, E::Signal(signal)) => (S::Stopping, vec![Forward(*signal)]),
        (S::Running, E::SidecarExited | E::Failed | E::Deadline) => (S::Stopping, vec![Forward(libc::SIGTERM)]),
        (S::Stopping, E::Signal(libc::SIGINT | libc::SIGQUIT) | E::Deadline) => (S::Killing, vec![KillAgent]),
        (S::Draining, E::Signal(libc::SIGINT | libc::SIGQUIT) | E::Deadline) => (S::Reaping, vec![KillSidecars]),
        (S::Running | S::Stopping | S::Killing | S::Draining | S::Reaping, E::AllExited) => (S::Over, vec![]),
        (state, _) => (state, vec![]),
    }
}

/// The time limit of a state.
pub fn limit(state: State, times: &Times) -> Option<Duration> {
    match state {
        State::Starting => Some(times.start),
        State::Running => times.run,
        State::Stopping => Some(times.grace),
        State::Draining => Some(times.drain),
        // The kernel ends a killed namespace by itself.
        State::Killing | State::Reaping | State::Over => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 7] = [
        Event::AllReady,
        Event::AgentExited,
        Event::SidecarExited,
        Event::Signal(libc::SIGTERM),
        Event::Failed,
        Event::Deadline,
        Event::AllExited,
    ];

    #[test]
    fn two_interrupts_end_an_agent_that_ignores_the_first() {
        let (state, actions) = step(State::Running, &Event::Signal(libc::SIGINT));
        assert_eq!((state, actions), (State::Stopping, vec![Action::Forward(libc::SIGINT)]));
        let (state, actions) = step(state, &Event::Signal(libc::SIGINT));
        assert_eq!((state, actions), (State::Killing, vec![Action::KillAgent]));
        let (state, actions) = step(state, &Event::AgentExited);
        assert_eq!((state, actions), (State::Draining, vec![Action::StopSidecars]));
        assert_eq!(step(state, &Event::Signal(libc::SIGINT)), (State::Reaping, vec![Action::KillSidecars]));
    }

    #[test]
    fn a_repeated_request_to_end_does_not_shorten_the_grace() {
        for state in [State::Stopping, State::Draining] {
            for signal in [libc::SIGTERM, libc::SIGHUP] {
                assert_eq!(step(state, &Event::Signal(signal)), (state, vec![]));
            }
        }
    }

    #[test]
    fn nothing_that_happens_before_the_release_lets_the_agent_start() {
        for event in &EVENTS[1..] {
            let (state, actions) = step(State::Starting, event);
            assert!(matches!(state, State::Reaping | State::Over) && !actions.contains(&Action::Release), "{event:?}");
        }
    }

    #[test]
    fn no_state_goes_back_and_every_state_can_end() {
        let order = [State::Starting, State::Running, State::Stopping, State::Killing, State::Draining, State::Reaping, State::Over];
        let rank = |state: State| order.iter().position(|s| *s == state);
        for state in order {
            for event in &EVENTS {
                assert!(rank(step(state, event).0) >= rank(state), "{state:?} {event:?}");
            }
            assert_eq!(step(state, &Event::AllExited).0, State::Over, "{state:?}");
        }
    }
}
