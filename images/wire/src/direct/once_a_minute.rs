//! Events that an agent could cause by the thousand are written once a minute for each thing that they are about. Pure: the time comes in.

use std::collections::HashSet;
use std::hash::Hash;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// What has been written in the current minute.
#[derive(Debug)]
pub(super) struct OnceAMinute<T> {
    max: usize,
    since: Option<Instant>,
    seen: HashSet<T>,
}

/// Whether an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Yes,
    No,
    /// Too many different ones came: that is said once, and nothing more in this minute.
    Surplus,
}

impl<T: Eq + Hash> OnceAMinute<T> {
    /// At most `max` different ones in a minute.
    pub(super) fn new(max: usize) -> Self {
        Self { max, since: None, seen: HashSet::new() }
    }

    pub(super) fn admit(&mut self, what: T, now: Instant) -> Write {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= MINUTE) {
            self.since = Some(now);
            self.seen.clear();
        }
        if self.seen.len() > self.max || !self.seen.insert(what) {
            return Write::No;
        }
        if self.seen.len() > self.max { Write::Surplus } else { Write::Yes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_written_once_a_minute_and_a_flood_only_as_such() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut minute = OnceAMinute::new(2);
        let said: Vec<Write> = [("a", 0), ("a", 1), ("b", 2), ("c", 3), ("d", 4), ("a", 59), ("a", 60), ("b", 119), ("a", 119)]
            .map(|(what, seconds)| minute.admit(what, at(seconds)))
            .to_vec();
        use Write::{No, Surplus, Yes};
        assert_eq!(said, [Yes, No, Yes, Surplus, No, No, Yes, Yes, No]);
    }
}
