//! The clocks: wall time for people, boot time for order, and the file system's own for comparisons with its stamps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bottle_contract::event::rfc3339;
use rustix::time::{ClockId, clock_gettime};

/// The wall clock as RFC 3339 in UTC with milliseconds. It may jump.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(since.as_secs(), since.subsec_millis())
}

/// A span of time as a manifest spells it: `1h30m`, in whole seconds.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let text: String = parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Microseconds since boot, suspended time included. It never goes back; with the boot's id it orders events of all bottles.
pub fn boot_micros() -> u64 {
    let at = clock_gettime(ClockId::Boottime);
    at.tv_sec as u64 * 1_000_000 + at.tv_nsec as u64 / 1_000
}

/// The clock that file systems stamp changes with, in nanoseconds since 1970. It ticks only every few milliseconds; the fine clock would
/// be ahead of the stamp of a file that is changed right afterwards. What is stamped after this call has at least this value; what was
/// stamped in the milliseconds before may have a greater one, for newer kernels give fine stamps now and then.
pub fn file_nanos() -> u64 {
    let at = clock_gettime(ClockId::RealtimeCoarse);
    at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_spelled_as_a_manifest_does() {
        for (seconds, text) in [(7200, "2h"), (5400, "1h30m"), (90, "1m30s"), (3, "3s"), (3601, "1h1s"), (0, "0s")] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
