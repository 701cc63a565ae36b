//! What a proxy brings to the machinery of this crate: its policy, and the way onward.

use std::future::Future;

use bottle_contract::host::Host;
use bottle_policy::Refused;
use bottle_policy::target::Peer;
use http::{Request, Response};

use crate::http::body::Body;
use crate::http::headers::AnsweredBy;
use crate::http::request::RequestContext;
use crate::http::tunnel::Duplex;

/// How a `CONNECT` goes on.
pub enum Admission {
    /// The proxy answers as the target itself, inside TLS.
    Intercept,
    /// Bytes pass unseen to this stream, as `pipelock` allows it to siblings for declared targets.
    Tunnel(Box<dyn Duplex>),
}

/// What became of a request.
pub enum Handled {
    /// An ordinary response.
    Response(Response<Body>, AnsweredBy),
    /// A 101, and the stream behind it.
    Upgraded(Response<()>, Box<dyn Duplex>),
}

impl From<Response<Body>> for Handled {
    fn from(response: Response<Body>) -> Self {
        Self::Response(response, AnsweredBy::Origin)
    }
}

/// What a proxy does with what passed the checks of this crate.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Judges a `CONNECT`, before the TLS handshake and before a leaf is made.
    fn admit(&self, peer: &Peer, host: &Host, port: u16) -> impl Future<Output = Result<Admission, Refused>> + Send;

    /// Answers one request. Its URI is `scheme://host[:port]/path?query` in canonical form, its `host` header agrees, and what is not end
    /// to end has been removed; for a WebSocket, `connection` and `upgrade` are put back.
    fn handle(&self, context: RequestContext, request: Request<Body>) -> impl Future<Output = Result<Handled, Refused>> + Send;

    /// A page of the proxy itself, as `http://egress:9099/_bottle/routes`; `host` is one of the bottle's own names.
    fn own_page(&self, host: &str, path: &str) -> Option<Response<Body>> {
        let _ = (host, path);
        None
    }

    /// True when `host`, one of the bottle's own names, is this sidecar as a server: its requests go to [`Handler::handle`] like those to
    /// an origin.
    fn serves(&self, host: &Host) -> bool {
        let _ = host;
        false
    }
}
