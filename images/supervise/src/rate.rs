//! How many calls there may be: the supervisor has one thread, and must not be kept busy by an agent.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Calls at once.
const BURST: u32 = 40;
/// Time for one more.
const REFILL: Duration = Duration::from_millis(50);

/// A bucket of tokens, one for each call.
pub(crate) struct Rate(Mutex<Bucket>);

struct Bucket {
    tokens: u32,
    since: Instant,
}

impl Rate {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(Bucket { tokens: BURST, since: now }))
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&self, now: Instant) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refilled = u32::try_from(now.saturating_duration_since(bucket.since).as_millis() / REFILL.as_millis()).unwrap_or(BURST);
        if refilled > 0 {
            bucket.tokens = bucket.tokens.saturating_add(refilled).min(BURST);
            bucket.since = now;
        }
        bucket.tokens.checked_sub(1).map(|rest| bucket.tokens = rest).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: M06
    #[test]
    fn a_burst_and_then_twenty_a_second() {
        let start = Instant::now();
        let rate = Rate::new(start);
        let taken = |millis: u64, tries: usize| (0..tries).filter(|_| rate.take(start + Duration::from_millis(millis))).count();
        assert_eq!((taken(0, 100), taken(49, 1), taken(1_050, 100), taken(3_600_000, 100)), (40, 0, 21, 40));
    }
}
