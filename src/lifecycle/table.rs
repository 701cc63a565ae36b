//! The life of a bottle as one table: what is done in which state when something happens. Pure.
//!
//! | state | an event | what is done | next |
//! |---|---|---|---|
//! | starting | everyone serves | release the agent | running |
//! | starting | a signal, a failure, an end, the deadline | kill everyone | reaping |
//! | running | the agent ends | ask the sidecars to end | winding |
//! | running | a signal | forward it | stopping |
//! | running | a sidecar ends, a failure, the time limit | ask the agent to end | stopping |
//! | stopping | the agent ends | ask the sidecars to end | winding |
//! | stopping | an interrupt, the deadline | kill the agent | killing |
//! | killing | the agent ends | ask the sidecars to end | winding |
//! | winding | the deadline, an interrupt | kill the sidecars | reaping |
//! | winding, reaping | nobody is left | | over |
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
    Winding,
    /// Everyone was killed.
    Reaping,
    /// Nobody is left.
    Over,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Every sidecar serves, and the agent can start at once.
    Served,
    /// The agent ended.
    AgentEnded,
    /// A sidecar ended.
    SidecarEnded,
    /// The operator, or the system, asks for the end with this signal.
    Signal(i32),
    /// Bottle cannot go on.
    Failed,
    /// The time for this state has passed.
    Deadline,
    /// No piece lives.
    NobodyLeft,
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
    pub wind: Duration,
}

/// The next state, and what is done on the way.
pub fn step(state: State, happening: &Happening) -> (State, Vec<Action>) {
    use Action::{Forward, KillAgent, KillSidecars, Release, StopSidecars};
    use Happening as H;
    use State as S;
    match (state, happening) {
        (S::Starting, H::Served) => (S::Running, vec![Release]),
        (S::Starting, H::NobodyLeft) => (S::Over, vec![]),
        (S::Starting, _) => (S::Reaping, vec![KillAgent, KillSidecars]),
        (S::Running | S::Stopping | S::Killing, H::AgentEnded) => (S::Winding, vec![StopSidecars]),
        (S::Running, H::Signal(signal)) => (S::Stopping, vec![Forward(*signal)]),
        (S::Running, H::SidecarEnded | H::Failed | H::Deadline) => (S::Stopping, vec![Forward(libc::SIGTERM)]),
        (S::Stopping, H::Signal(libc::SIGINT | libc::SIGQUIT) | H::Deadline) => (S::Killing, vec![KillAgent]),
        (S::Winding, H::Signal(libc::SIGINT | libc::SIGQUIT) | H::Deadline) => (S::Reaping, vec![KillSidecars]),
        (S::Running | S::Stopping | S::Killing | S::Winding | S::Reaping, H::NobodyLeft) => (S::Over, vec![]),
        (state, _) => (state, vec![]),
    }
}

/// The time limit of a state.
pub fn limit(state: State, times: &Times) -> Option<Duration> {
    match state {
        State::Starting => Some(times.start),
        State::Running => times.run,
        State::Stopping => Some(times.grace),
        State::Winding => Some(times.wind),
        // The kernel ends a killed namespace by itself.
        State::Killing | State::Reaping | State::Over => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HAPPENINGS: [Happening; 7] = [
        Happening::Served,
        Happening::AgentEnded,
        Happening::SidecarEnded,
        Happening::Signal(libc::SIGTERM),
        Happening::Failed,
        Happening::Deadline,
        Happening::NobodyLeft,
    ];

    #[test]
    fn two_interrupts_end_an_agent_that_ignores_the_first() {
        let (state, actions) = step(State::Running, &Happening::Signal(libc::SIGINT));
        assert_eq!((state, actions), (State::Stopping, vec![Action::Forward(libc::SIGINT)]));
        let (state, actions) = step(state, &Happening::Signal(libc::SIGINT));
        assert_eq!((state, actions), (State::Killing, vec![Action::KillAgent]));
        let (state, actions) = step(state, &Happening::AgentEnded);
        assert_eq!((state, actions), (State::Winding, vec![Action::StopSidecars]));
        assert_eq!(step(state, &Happening::Signal(libc::SIGINT)), (State::Reaping, vec![Action::KillSidecars]));
    }

    #[test]
    fn a_repeated_request_to_end_does_not_shorten_the_grace() {
        for state in [State::Stopping, State::Winding] {
            for signal in [libc::SIGTERM, libc::SIGHUP] {
                assert_eq!(step(state, &Happening::Signal(signal)), (state, vec![]));
            }
        }
    }

    #[test]
    fn nothing_that_happens_before_the_release_lets_the_agent_start() {
        for happening in &HAPPENINGS[1..] {
            let (state, actions) = step(State::Starting, happening);
            assert!(matches!(state, State::Reaping | State::Over) && !actions.contains(&Action::Release), "{happening:?}");
        }
    }

    #[test]
    fn no_state_goes_back_and_every_state_can_end() {
        let order = [State::Starting, State::Running, State::Stopping, State::Killing, State::Winding, State::Reaping, State::Over];
        let rank = |state: State| order.iter().position(|s| *s == state);
        for state in order {
            for happening in &HAPPENINGS {
                assert!(rank(step(state, happening).0) >= rank(state), "{state:?} {happening:?}");
            }
            assert_eq!(step(state, &Happening::NobodyLeft).0, State::Over, "{state:?}");
        }
    }
}
