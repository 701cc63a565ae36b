//! The next hop, and what can go wrong on the way there.

use std::path::PathBuf;
use std::time::Duration;

use bottle_contract::Untrusted;
use bottle_contract::egress;
use bottle_contract::pipelock::Limits;
use bottle_contract::reason::Reason;
use bottle_wire::pool::Failure;
use bottle_wire::{Asked, Body, Refused, body};
use http::{HeaderName, Request, Response};

use crate::link::Link;
use crate::parent::Parent;

/// Well below the 30 s after which our own proxies, and most others, end an idle connection.
pub(crate) const FRESH: Duration = Duration::from_secs(15);

/// Where allowed requests go.
pub(crate) enum Upstream {
    Link(Link),
    Parent(Box<Parent>),
}

impl Upstream {
    pub(crate) fn new(config: &egress::Upstream, limits: &Limits) -> Result<Self, String> {
        Ok(match config {
            egress::Upstream::Link { socket } => Self::Link(Link::new(PathBuf::from(socket), limits)),
            egress::Upstream::Parent { address, ca } => Self::Parent(Box::new(Parent::new(address, ca.as_deref(), limits)?)),
        })
    }

    /// Sends a request on; `injected` names the header that a credential was put in.
    pub(crate) async fn send(
        &self,
        asked: &Asked,
        request: Request<Body>,
        injected: Option<&HeaderName>,
    ) -> Result<Response<Body>, Refused> {
        match self {
            Self::Link(link) => link.send(asked, request, injected).await,
            Self::Parent(parent) => parent.send(asked, request).await,
        }
    }
}

/// As a refusal; `gone` is the reason when the connection ended without an answer.
pub(crate) fn refused(failure: Failure, gone: Reason, message: &str) -> Refused {
    match failure {
        Failure::Refused(refused) => refused,
        Failure::Broken(error) => match body::refusal_in(&error) {
            Some(refused) => refused.clone(),
            None if error.is_parse() => {
                let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                Refused::new(Reason::UpstreamProtocol, format!("the answer is not HTTP/1.1: {}", Untrusted::new(&why))).place("upstream")
            }
            None if error.is_user() => Refused::new(Reason::MalformedRequest, "the request's body broke off").place("body"),
            None => Refused::new(gone, message).place("upstream"),
        },
    }
}
