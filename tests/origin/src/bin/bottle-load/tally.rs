//! Counts and times.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

/// What one worker, or all together, saw.
#[derive(Default)]
pub(crate) struct Tally {
    /// Microseconds of each answered request.
    micros: Vec<u32>,
    bytes: u64,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn answered(&mut self, took: Duration, bytes: u64) {
        self.micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        self.bytes += bytes;
    }

    pub(crate) fn failed(&mut self, error: String) {
        *self.errors.entry(error).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.micros.extend(other.micros);
        self.bytes += other.bytes;
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
    }

    /// The result; `errors` is a number, `error_kinds` says which.
    pub(crate) fn json(mut self, took: Duration) -> String {
        self.micros.sort_unstable();
        let seconds = took.as_secs_f64();
        json!({
            "requests": self.micros.len(),
            "seconds": seconds,
            "per_second": self.micros.len() as f64 / seconds,
            "p50_us": quantile(&self.micros, 50),
            "p99_us": quantile(&self.micros, 99),
            "megabytes_per_second": self.bytes as f64 / 1e6 / seconds,
            "errors": self.errors.values().sum::<u64>(),
            "error_kinds": self.errors,
            // Then what is compared with it looks better than it is.
            "debug": cfg!(debug_assertions),
        })
        .to_string()
    }
}

/// The smallest value that at least `percent` of all do not exceed (nearest rank).
fn quantile(sorted: &[u32], percent: usize) -> Option<u32> {
    sorted.get((sorted.len() * percent).div_ceil(100).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_nearest_rank() {
        let all: Vec<u32> = (1..=200).collect();
        assert_eq!((quantile(&all, 50), quantile(&all, 99)), (Some(100), Some(198)));
        assert_eq!((quantile(&[7], 99), quantile(&[], 50)), (Some(7), None));
    }

    #[test]
    fn tallies_add_up() {
        let mut all = Tally::default();
        for _ in 0..2 {
            let mut one = Tally::default();
            one.answered(Duration::from_micros(500), 1_000_000);
            one.failed("status 403".into());
            all.add(one);
        }
        let value: serde_json::Value = serde_json::from_str(&all.json(Duration::from_secs(2))).unwrap();
        let expected = json!({
            "requests": 2, "seconds": 2.0, "per_second": 1.0, "p50_us": 500, "p99_us": 500,
            "megabytes_per_second": 1.0, "errors": 2, "error_kinds": {"status 403": 2}, "debug": cfg!(debug_assertions),
        });
        assert_eq!(value, expected);
    }
}
