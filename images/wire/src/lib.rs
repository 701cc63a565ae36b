//! The machinery that the sidecars share: HTTP, and what surrounds it in a process that holds secrets and a table.
//!
//! # The life of one request
//!
//! 1. [`serve`] accepts a connection. Its first bytes say whether it speaks HTTP/1 or HTTP/2 (`first`).
//! 2. HTTP/1 bytes pass a strict recogniser of message framing before hyper sees them (`framing`): what has two
//!    readings never becomes a request. HTTP/2 connections are bounded by the settings in `connection` and by `frames`.
//! 3. `CONNECT` is shown to [`Handler::tunnel`] and [`Handler::admit`]. Only then is TLS accepted (`intercept`),
//!    with a leaf certificate from the bottle's own authority ([`authority`]). What is not TLS ends there.
//! 4. `bottle_policy` reads the target in the one way there is, or refuses; [`headers`] takes out what is not end to end.
//! 5. [`Handler::forward`] decides and answers. Bodies stream in both directions, bounded and watched ([`body`]).
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

pub use crate::http::access_log::{AccessEntry, AccessLog};
pub use crate::http::body::{Body, BodyError};
pub use crate::http::context::Serving;
pub use crate::http::handler::{Admission, Handled, Handler};
pub use crate::http::headers::AnsweredBy;
pub use crate::http::refusal::refusal_response;
pub use crate::http::request::RequestContext;
pub use crate::http::serve::serve;
pub use crate::http::{body, headers, tunnel};
pub use crate::process::events::Events;
pub use crate::process::{reload, run};
pub use crate::tls::leaves::LeafAuthority;
pub use bottle_contract::host::Host;
pub use bottle_contract::pipelock::Limits;
pub use bottle_contract::reason::Reason;
pub use bottle_policy::Refused;
pub use bottle_policy::target::Peer;
