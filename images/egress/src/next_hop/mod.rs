//! The next hop.

mod failure;
mod pipelock;
mod proxy;

use std::path::PathBuf;

use bottle_contract::egress;
use bottle_contract::pipelock::Limits;
use bottle_wire::{Asked, Body, Refused};
use http::{HeaderName, Request, Response};

use pipelock::Link;
use proxy::Parent;

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
