//! The next hop.

mod failure;
mod proxy;
mod sibling;

use std::path::PathBuf;

use bottle_contract::egress;
use bottle_contract::pipelock::Limits;
use bottle_wire::{AnsweredBy, Body, Refused, RequestContext};
use http::{HeaderName, Request, Response};

use proxy::ParentProxy;
use sibling::PipelockClient;

/// Where allowed requests go.
pub(crate) enum NextHop {
    /// Our own `pipelock`.
    Pipelock(PipelockClient),
    /// An ordinary proxy.
    Proxy(Box<ParentProxy>),
}

impl NextHop {
    pub(crate) fn new(config: &egress::Upstream, limits: &Limits) -> anyhow::Result<Self> {
        Ok(match config {
            egress::Upstream::Link { socket } => Self::Pipelock(PipelockClient::new(PathBuf::from(socket), limits)),
            egress::Upstream::Parent { address, ca } => Self::Proxy(Box::new(ParentProxy::new(address, ca.as_deref(), limits)?)),
        })
    }

    /// Forwards a request that `generation` has judged; `injected` names the header that a credential was put in.
    pub(crate) async fn send(
        &self,
        context: &RequestContext,
        request: Request<Body>,
        injected: Option<&HeaderName>,
        generation: u64,
    ) -> Result<Response<Body>, Refused> {
        match self {
            Self::Pipelock(client) => client.send(context, request, injected, generation).await,
            Self::Proxy(proxy) => proxy.send(context, request).await,
        }
    }

    /// Whose word its answers are.
    pub(crate) fn answers_as(&self) -> AnsweredBy {
        match self {
            Self::Pipelock(_) => AnsweredBy::Sibling,
            Self::Proxy(_) => AnsweredBy::Origin,
        }
    }
}
