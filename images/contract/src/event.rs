//! Events: JSON lines on a sidecar's standard error, from which logs and the timeline are made.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For debugging the sidecar.
    Debug,
    /// A normal event.
    Info,
    /// A refusal, or a problem that the operator should see.
    Warn,
    /// The sidecar cannot work.
    Error,
}

/// An event. Absent fields are omitted. Untrusted text is a JSON string; secrets and credential headers never appear. `S`
/// is the string type: a reader that only checks whether a line is an event can borrow. A line with an unknown member is
/// not an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event<S = String> {
    /// RFC 3339 in UTC with milliseconds.
    pub time: S,
    /// How much it matters.
    pub level: Level,
    /// The stable name of the event: `ready`, `request`, `refused`, `tunnel`, `answer_suspicious`, `reload`,
    /// `reload_failed`, `grant_used_up`, `stopping`, `push`, `fetch`, `ask`, `decision`, `error`.
    pub event: S,
    /// The request, the same in both proxies' events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<S>,
    /// The policy's generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The request's method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<S>,
    /// Scheme, host and port: `https://api.github.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<S>,
    /// The canonical path. Never the query: it may hold a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<S>,
    /// The status that the agent saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The rule that decided: a route's host pattern, a grant's id behind `grant:`, or a scanner rule's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<S>,
    /// The place in the message: `path`, `query`, `header:user-agent`, `body@1834`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<S>,
    /// The header with the injected credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub injected: Option<S>,
    /// The address that was dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialled: Option<S>,
    /// Bytes of the request's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Bytes of the response's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// From the request's head to the response's last byte, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micros: Option<u64>,
    /// The repository's name at the gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<S>,
    /// What a push would change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<RefChange<S>>,
    /// Objects of a push's pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<u64>,
    /// SHA-256 of a push's pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<S>,
    /// A message for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<S>,
}

/// A ref that a push would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefChange<S = String> {
    /// Its full name, escaped.
    pub name: S,
    /// Its old id; zeros for none.
    pub old: S,
    /// Its new id; zeros for none.
    pub new: S,
    /// The result: `ok`, or why it failed.
    pub result: S,
}

impl Event {
    /// An event with the mandatory fields.
    pub fn new(time: String, level: Level, event: &str) -> Self {
        Self {
            time,
            level,
            event: event.to_owned(),
            request_id: None,
            generation: None,
            method: None,
            origin: None,
            path: None,
            status: None,
            reason: None,
            rule: None,
            place: None,
            injected: None,
            dialled: None,
            sent: None,
            received: None,
            micros: None,
            repo: None,
            refs: Vec::new(),
            objects: None,
            pack: None,
            message: None,
        }
    }
}

/// The last second of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// A moment since 1970 as RFC 3339 in UTC with milliseconds, through the year 9999.
pub fn rfc3339(seconds: u64, millis: u32) -> String {
    let since = Duration::from_secs(seconds.min(LAST_SECOND)) + Duration::from_millis(u64::from(millis));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_leaves_out_what_it_does_not_have() {
        let mut event = Event::new(rfc3339(1_700_000_000, 7), Level::Warn, "refused");
        event.reason = Some(Reason::HostNotListed);
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"time":"2023-11-14T22:13:20.007Z","level":"warn","event":"refused","reason":"host_not_listed"}"#
        );
    }

    #[test]
    fn days_and_leap_years_are_counted_right() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(seconds, 0), text);
        }
        assert_eq!(rfc3339(86_399, 987), "1970-01-01T23:59:59.987Z");
    }
}
