//! What a listener and its connections share.

use std::sync::Arc;

use bottle_contract::pipelock::Limits;
use bottle_policy::target::Channel;
use tokio_util::sync::CancellationToken;

use crate::http::record::RequestIds;
use crate::http::slots::Slot;
use crate::process::events::Events;
use crate::tls::leaves::LeafAuthority;

/// Who dials a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facing {
    /// The agent: nothing that it says about itself is believed.
    Agent,
    /// A sibling sidecar: it may name `https` targets in absolute form, and its `x-bottle-` fields are kept.
    Sibling,
}

/// How a listener is served.
#[derive(Clone)]
pub struct Serving {
    /// Which sidecar this is, as in `egress`.
    pub piece: &'static str,
    /// Who dials.
    pub facing: Facing,
    /// Signs for intercepted hosts. Without one, `CONNECT` works only for [`Forward::tunnel`](crate::Forward::tunnel).
    pub authority: Option<Arc<LeafAuthority>>,
    /// Bounds.
    pub limits: Limits,
    /// Where events go.
    pub events: Events,
    /// When to stop.
    pub stop: CancellationToken,
}

/// What every connection of a listener shares.
pub(crate) struct Shared<F> {
    pub(crate) serving: Serving,
    pub(crate) forward: F,
    pub(crate) ids: RequestIds,
}

/// What the exchanges of one connection share.
pub(crate) struct Context<F> {
    pub(crate) shared: Arc<Shared<F>>,
    pub(crate) channel: Channel,
    pub(crate) slot: Slot,
}
