//! Waiting for an event that no descriptor announces, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// How often an unannounced event is looked for: below what a person or a test's total time would notice.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Asks `event` until it answers, for at most `patience`.
pub fn wait_until<T>(patience: Duration, mut event: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(answer) = event() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::park_timeout(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_never_comes_ends_the_wait() {
        let start = Instant::now();
        assert_eq!(wait_until(Duration::from_millis(20), || None::<()>), None);
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn the_answer_is_handed_on() {
        let mut left = 3;
        let answer = wait_until(Duration::from_secs(5), || {
            left -= 1;
            (left == 0).then_some("come")
        });
        assert_eq!(answer, Some("come"));
    }
}
