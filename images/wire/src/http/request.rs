//! One request as a handler sees it: what it names, who sent it, and what goes with it.

use std::ops::Deref;

use bottle_policy::target::{Peer, Target};

use crate::http::access_log::AccessLog;

/// What is known of a request beside its head and body.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// What the request names, each part in canonical form.
    pub target: Target,
    /// Who sent it.
    pub peer: Peer,
    /// Names the request in events of both proxies.
    pub request_id: String,
    /// A WebSocket is requested.
    pub websocket: bool,
    /// The agent speaks HTTP/2.
    pub http_2: bool,
    /// What the event of the exchange will say.
    pub log: AccessLog,
}

/// A request is first of all what it names.
impl Deref for RequestContext {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.target
    }
}
