//! Whether a sidecar serves: it says so once, and then again and again, so that one that hangs does not go unnoticed.
//!
//! A sidecar that hangs is named and left alone: requests through it wait until their deadlines, nothing passes around it, and it may
//! go on. Only the end of one ends the bottle.

use std::time::Instant;

use bottle_contract::handoff::HEARTBEAT_TIMEOUT;

/// What is known of whether a sidecar answers. Time comes in as data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Health {
    /// It does not tell.
    #[default]
    Unknown,
    /// It told so at this time.
    Heard(Instant),
    /// It has not told so in time.
    Silent,
}

impl Health {
    /// It has told that it answers; true if it had been silent.
    pub(super) fn hear(&mut self, now: Instant) -> bool {
        std::mem::replace(self, Self::Heard(now)) == Self::Silent
    }

    /// When it must have told that it answers.
    pub(super) fn due(self) -> Option<Instant> {
        match self {
            Self::Heard(at) => Some(at + HEARTBEAT_TIMEOUT),
            Self::Unknown | Self::Silent => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_silent_and_is_heard_again_answers_again() {
        let now = Instant::now();
        let mut health = Health::default();
        assert_eq!(health.due(), None);
        assert!(!health.hear(now));
        assert_eq!(health.due(), Some(now + HEARTBEAT_TIMEOUT));
        health = Health::Silent;
        assert_eq!(health.due(), None);
        assert!(health.hear(now) && health == Health::Heard(now));
    }
}
