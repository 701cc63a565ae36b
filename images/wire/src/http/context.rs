//! What a listener and its connections share.

use std::sync::{Arc, Mutex, PoisonError};

use bottle_contract::pipelock::Limits;
use bottle_policy::target::Peer;
use tokio_util::sync::CancellationToken;

use crate::http::record::{Record, RequestIds};
use crate::http::slots::Slot;
use crate::process::events::Events;
use crate::tls::leaves::LeafAuthority;

/// How a listener is served.
#[derive(Clone)]
pub struct Serving {
    /// Which sidecar this is, as in `egress`.
    pub component: &'static str,
    /// Who connects to it: the agent or a sibling.
    pub peer: Peer,
    /// Signs for intercepted hosts. Without one, `CONNECT` works only where the handler opens a tunnel itself.
    pub authority: Option<Arc<LeafAuthority>>,
    /// Bounds.
    pub limits: Limits,
    /// Where events go.
    pub events: Events,
    /// When to stop.
    pub stop: CancellationToken,
}

/// What every connection of a listener shares.
pub(crate) struct Shared<H> {
    pub(crate) serving: Serving,
    pub(crate) handler: H,
    pub(crate) ids: RequestIds,
}

/// What the exchanges of one connection share.
pub(crate) struct Context<H> {
    pub(crate) shared: Arc<Shared<H>>,
    pub(crate) peer: Peer,
    pub(crate) slot: Slot,
    /// The record of a `CONNECT` that is refused inside its TLS: written if the connection ends without a request.
    pub(crate) unanswered: Mutex<Option<Record>>,
}

impl<H> Context<H> {
    /// A refused `CONNECT` gets its answer now: the request's own event says so, and one is enough.
    pub(crate) fn answer_connect(&self) {
        if let Some(record) = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).take() {
            record.forget();
        }
    }
}
