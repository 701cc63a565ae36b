//! What can go wrong on the way to the next hop.

use std::time::Duration;

use bottle_contract::Untrusted;
use bottle_contract::reason::Reason;
use bottle_policy::Place;
use bottle_wire::client::pool::Failure;
use bottle_wire::{Refused, body};

/// Well below the 30 s after which our own proxies, and most others, end an idle connection.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// As a refusal; `gone` is the reason when the connection ended without an answer.
pub(crate) fn refused(failure: Failure, gone: Reason, message: &str) -> Refused {
    match failure {
        Failure::Refused(refused) => refused,
        Failure::Broken(error) => match body::refusal_in(&error) {
            Some(refused) => refused.clone(),
            None if error.is_parse() => {
                let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                Refused::new(Reason::UpstreamProtocol, format!("the answer is not HTTP/1.1: {}", Untrusted::new(&why)))
                    .place(Place::Upstream)
            }
            None if error.is_user() => Refused::new(Reason::MalformedRequest, "the request's body broke off").place(Place::Body),
            None => Refused::new(gone, message).place(Place::Upstream),
        },
    }
}
