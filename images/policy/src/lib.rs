//! The policies of `egress` and `pipelock`, without I/O.
//!
//! Both proxies judge each request with this code. So does `bottle check`, which sends nothing:
//!
//! 1. [`target`] parses the target of a request, or refuses it if parsers could disagree.
//! 2. [`routes`] judges for `egress`: route, method, canonical path; [`grants`], what was approved beside the routes. [`push`] refuses pushes that bypass git-gate.
//! 3. [`pipelock_policy`] judges for `pipelock`: allowlist, ports, and how to reach a host. [`guard`] judges the addresses.
//!    [`asks`] says which refusals a person may be asked about.
//! 4. [`head`] scans everything before the body. `bottle_scan` scans bodies.
//!
//! [`reach`] says what one bottle reaches that another does not.
//!
//! [`evaluate`] combines the steps for a request that is not sent, in the order of the proxies.
//!
//! Invariants: no clock, sockets or files, except that [`guard::interfaces`] asks the kernel for the machine's addresses.
//! Nothing is asynchronous, because the supervisor has no async runtime.

#![forbid(unsafe_code)]

pub mod asks;
pub mod credential_header;
pub mod evaluate;
pub mod grants;
pub mod guard;
pub mod head;
pub mod overrides;
pub mod own;
pub mod pipelock_policy;
pub mod place;
pub mod push;
pub mod reach;
pub mod refused;
pub mod routes;
pub mod scanner;
pub mod signed_url;
pub mod target;

pub use place::Place;
pub use refused::Refused;
pub use target::Target;

use bottle_contract::Reason;
use bottle_scan::{Known, Scanner};

/// A finding of the scanner and its place. It never contains the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// The scanner's rule.
    pub rule: String,
    /// Where in the message.
    pub place: Place,
    /// What may be told of the value.
    pub known: Option<Box<Known>>,
}

impl Leak {
    /// A finding in a body. `form` is `body`, `body.decoded` or the like. The place is a byte, or a view of joined values.
    pub fn in_body(form: &str, found: bottle_scan::Finding) -> Self {
        let place = match found.view() {
            Some(view) => Place::BodyView(form.to_owned(), view),
            None => Place::BodyAt(form.to_owned(), found.offset),
        };
        Self { rule: found.rule, place, known: None }
    }

    /// The same, with what all of the body tells about it: the field, and the value without the value.
    pub fn in_text(form: &str, found: bottle_scan::Finding, scanner: &Scanner, body: &[u8]) -> Self {
        let (field, known) = scanner.tell(body, &found);
        let leak = Self::in_body(form, found);
        Self { place: field.map_or(leak.place, Place::Field), known: known.map(Box::new), rule: leak.rule }
    }
}

impl From<Leak> for Refused {
    /// The message reads like a verdict, never like a failed login.
    fn from(leak: Leak) -> Self {
        let (reason, why) = match leak.rule == bottle_scan::NOT_SCANNABLE {
            true => (Reason::BodyNotScannable, "cannot be checked completely"),
            false => (Reason::SecretDetected, "contains something that looks like a credential"),
        };
        let message = format!("bottle refused to send this: {} {why}", leak.place);
        Self { known: leak.known, ..Self::new(reason, message).rule(leak.rule).place(leak.place) }
    }
}
