//! One request as a forwarder sees it: what it names, and what goes with it.

use std::ops::Deref;

use bottle_policy::target::Target;

use crate::http::access_log::Notes;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What the request names, each part in canonical form.
    pub target: Target,
    /// Names the request in events of both proxies.
    pub request_id: String,
    /// A WebSocket is asked for.
    pub websocket: bool,
    /// The agent asked over HTTP/2.
    pub http_2: bool,
    /// For what the event should say.
    pub notes: Notes,
}

/// A request is first of all what it names.
impl Deref for Asked {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.target
    }
}
