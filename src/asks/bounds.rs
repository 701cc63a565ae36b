//! How many asks there may be: a rate, a number, and a bar that rises with denials.

/// Open at one time.
pub(super) const MAX_OPEN: usize = 20;
/// Clients that wait for one question.
pub(super) const MAX_CLIENTS: usize = 64;
/// New questions at once.
const BURST: u64 = 5;
/// Milliseconds for one more.
const REFILL_MS: u64 = 1_000;
/// After so many denials in a row, requests are refused unasked; the agent may still propose.
pub(super) const MAX_DENIALS_IN_A_ROW: u32 = 3;
/// Milliseconds until a question that nobody answers expires.
pub(super) const EXPIRY_MS: u64 = 600_000;
/// Closed questions, and denials, that are remembered.
pub(super) const MAX_REMEMBERED: usize = 256;

/// A bucket of tokens, one for each new question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Milliseconds of refill that are in it.
    filled: u64,
    since: u64,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(now: u64) -> Self {
        Self { filled: BURST * REFILL_MS, since: now }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: u64) -> bool {
        self.filled = (self.filled + now.saturating_sub(self.since)).min(BURST * REFILL_MS);
        self.since = self.since.max(now);
        match self.filled.checked_sub(REFILL_MS) {
            Some(rest) => {
                self.filled = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: M06
    #[test]
    fn five_questions_at_once_and_then_one_a_second() {
        let mut bucket = Bucket::new(10_000);
        let taken: Vec<bool> = (0..7).map(|_| bucket.take(10_000)).collect();
        assert_eq!(taken, [true, true, true, true, true, false, false]);
        assert!(!bucket.take(10_999) && bucket.take(11_000) && !bucket.take(11_500));
        // A clock that steps back fills nothing.
        assert!(!bucket.take(0) && bucket.take(12_000));
        assert_eq!((0..100).filter(|_| bucket.take(1_000_000)).count(), 5);
    }
}
