//! The machinery that the sidecars share: HTTP, and what surrounds it in a process that holds secrets and a table.
//!
//! # The life of one request
//!
//! 1. [`serve`] accepts a connection. Its first bytes say whether it speaks HTTP/1 or HTTP/2 (`first`).
//! 2. HTTP/1 bytes pass a strict recogniser of message framing before hyper sees them (`framing`): what has two
//!    readings never becomes a request. HTTP/2 connections are bounded by the settings in `connection` and by `frames`.
//! 3. `CONNECT` is shown to [`Forward::tunnel`] and [`Forward::admit`]. Only then is TLS accepted (`intercept`),
//!    with a leaf certificate from the bottle's own authority ([`authority`]). What is not TLS ends there.
//! 4. `bottle_policy` reads the target in the one way there is, or refuses; [`headers`] takes out what is not end to end.
//! 5. [`Forward::forward`] decides and answers. Bodies stream in both directions, bounded and watched ([`body`]).
//! 6. A refusal becomes a small JSON page ([`refusal`]); each exchange ends as one event ([`events`]).
//!
//! Absent on purpose: caching, redirects, retries (but [`again`]), TLS session resumption, server push, HTTP/3.

pub mod client;
pub mod http;
pub mod process;
pub mod secret;
pub mod tls;

mod delegate;
mod framing;
#[cfg(fuzzing)]
pub mod fuzzing;

use std::future::Future;

pub use crate::http::access_log::{Noted, Notes};
pub use crate::http::body::{Body, BodyError};
pub use crate::http::refusal::{Refused, refusal_response};
pub use crate::http::request::Asked;
pub use crate::http::serve::{Facing, Serving, serve};
pub use crate::http::{body, headers, tunnel};
pub use crate::process::events::Events;
pub use crate::process::{reload, run};
pub use crate::tls::leaves::LeafAuthority;
pub use bottle_contract::host::Host;
pub use bottle_contract::pipelock::Limits;
pub use bottle_contract::reason::Reason;

/// What a proxy does with what passed the checks of this crate.
pub trait Forward: Clone + Send + Sync + 'static {
    /// At `CONNECT`, before the TLS handshake and before a leaf is made.
    fn admit(&self, host: &Host, port: u16) -> Result<(), Refused>;

    /// Answers one request. Its URI is `scheme://host[:port]/path?query` in canonical form, its `host` header agrees,
    /// and what is not end to end has been taken out; for a WebSocket, `connection` and `upgrade` are put back. A
    /// response with status 101 brings its stream by [`tunnel::carry`] or as hyper's own upgrade.
    fn forward(&self, asked: Asked, request: ::http::Request<Body>)
    -> impl Future<Output = Result<::http::Response<Body>, Refused>> + Send;

    /// A page of the proxy itself, as `http://egress:9099/_bottle/routes`; `host` is one of the bottle's own names.
    fn own_page(&self, host: &str, path: &str) -> Option<::http::Response<Body>> {
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
