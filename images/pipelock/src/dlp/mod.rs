//! Data loss prevention: nothing leaves before it was scanned, and nothing that was found leaves whole.

pub mod body;
pub mod decode;
pub mod frames;
pub mod head;
pub mod inspect;
pub mod websocket;

use bottle_contract::Reason;
use bottle_wire::Refused;

/// What was found, and where in the message. It never holds the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// The scanner's rule.
    pub rule: String,
    /// `path`, `query`, `header:user-agent`, `body@1834` and the like.
    pub place: String,
}

impl From<Leak> for Refused {
    /// Reads like a verdict, never like a login that failed.
    fn from(leak: Leak) -> Self {
        let (reason, why) = match leak.rule == bottle_scan::NOT_SCANNABLE {
            true => (Reason::BodyNotScannable, "cannot be checked to its end"),
            false => (Reason::SecretDetected, "holds something that looks like a credential"),
        };
        let message = format!("bottle refused to send this: {} {why}", leak.place);
        Self::new(reason, message).rule(leak.rule).place(leak.place)
    }
}
