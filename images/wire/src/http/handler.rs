//! What a proxy brings: its policy, as the machinery of this crate asks for it.

use std::future::Future;

use bottle_contract::host::Host;
use bottle_policy::Refused;

use crate::http::body::Body;
use crate::http::request::Asked;
use crate::http::tunnel;

/// What a proxy does with what passed the checks of this crate.
pub trait Forward: Clone + Send + Sync + 'static {
    /// At `CONNECT`, before the TLS handshake and before a leaf is made.
    fn admit(&self, host: &Host, port: u16) -> Result<(), Refused>;

    /// Answers one request. Its URI is `scheme://host[:port]/path?query` in canonical form, its `host` header agrees,
    /// and what is not end to end has been taken out; for a WebSocket, `connection` and `upgrade` are put back. A
    /// response with status 101 brings its stream by [`tunnel::carry`] or as hyper's own upgrade.
    fn forward(&self, asked: Asked, request: http::Request<Body>) -> impl Future<Output = Result<http::Response<Body>, Refused>> + Send;

    /// A page of the proxy itself, as `http://egress:9099/_bottle/routes`; `host` is one of the bottle's own names.
    fn own_page(&self, host: &str, path: &str) -> Option<http::Response<Body>> {
        let _ = (host, path);
        None
    }

    /// True when `host`, one of the bottle's own names, is this sidecar as a server: its requests go to
    /// [`Forward::forward`] like those to an origin.
    fn serves(&self, host: &Host) -> bool {
        let _ = host;
        false
    }

    /// At `CONNECT`, before [`Forward::admit`]: a stream to the target if policy lets a tunnel pass unseen, as
    /// `pipelock` does for the targets that a sibling may reach. `None`, the default, means interception.
    fn tunnel(&self, host: &Host, port: u16) -> impl Future<Output = Option<Result<Box<dyn tunnel::Duplex>, Refused>>> + Send {
        let _ = (host, port);
        async { None }
    }
}
