//! The verdicts of `egress` and `pipelock`, without their input and output.
//!
//! Both proxies ask this code about each request, and so does `bottle check`, which sends nothing:
//!
//! 1. [`target`] reads what a request names in the one way there is, or refuses.
//! 2. [`routes`] is `egress`'s verdict: route, method, canonical path. [`push`] keeps pushes to git-gate.
//! 3. [`table`] is `pipelock`'s: allowlist, ports, and the way to a host. [`guard`] judges the addresses it leads to.
//! 4. [`head`] scans everything before the body; bodies are scanned by `bottle_scan` itself.
//!
//! [`dry`] puts the steps together for a request that is not sent, as the proxies put them together for one that is.
//!
//! Invariants: no clock, no sockets, no files, but for [`guard::interfaces`], which asks the kernel for the machine's own
//! addresses; nothing asynchronous, so that the supervisor can use it.

#![forbid(unsafe_code)]

pub mod authority;
pub mod credential_header;
pub mod dry;
pub mod guard;
pub mod head;
pub mod overrides;
pub mod own;
pub mod place;
pub mod push;
pub mod refused;
pub mod routes;
pub mod scanner;
pub mod table;
pub mod target;

pub use place::Place;
pub use refused::Refused;
pub use target::Target;

use bottle_contract::Reason;

/// What was found, and where in the message. It never holds the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// The scanner's rule.
    pub rule: String,
    /// Where in the message.
    pub place: Place,
}

impl Leak {
    /// A finding in a body, `form` being `body`, `body.decoded` or the like: at a byte, or in what its values say together.
    pub fn in_body(form: &str, found: bottle_scan::Finding) -> Self {
        let place = match found.view() {
            Some(view) => Place::BodyView(form.to_owned(), view),
            None => Place::BodyAt(form.to_owned(), found.offset),
        };
        Self { rule: found.rule, place }
    }
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
