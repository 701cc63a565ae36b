//! What the sidecars share: HTTP as a server and as a client, and the process around it that holds secrets and a configuration.
//!
//! # The life of one request
//!
//! 1. [`serve`] accepts a connection. Its first bytes tell HTTP/1 from HTTP/2 (`http::sniff`).
//! 2. HTTP/1 bytes pass a strict recogniser of message framing before hyper reads them (`framing`): what has two readings never becomes a
//!    request. HTTP/2 connections are bounded by settings (`http::connection`) and by a budget for frames (`http::h2_budget`).
//! 3. [`Handler::admit`] judges each `CONNECT`. Only then is TLS accepted (`http::intercept`), with a leaf certificate from the bottle's
//!    own authority ([`tls::leaves`]). What is not TLS ends there.
//!    A program that knows no proxy arrives there without `CONNECT`: its resolver gave it an address that says which name it meant
//!    ([`direct`], `http::arrival`).
//! 4. `bottle_policy` reads the target in the one way there is, or refuses; [`headers`] removes what is not end to end.
//! 5. [`Handler::handle`] decides and answers, mostly through a [pool](client::pool) of connections to the next hop. Bodies stream in both
//!    directions, bounded and watched.
//! 6. A refusal becomes a small JSON page ([`http::refusal`]); each exchange ends as one event ([`process::events`]).
//!
//! Files import in one direction: `client`, `direct` and `http` stand on `framing`, `tls` and `process`; a test refuses circles.
//!
//! Absent on purpose: caching, redirects, retries (but for [`client::retry`]), TLS session resumption, server push, HTTP/3.

#![deny(unsafe_code)]

pub mod client;
pub mod direct;
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
pub use crate::http::conceal::conceals;
pub use crate::http::context::Serving;
pub use crate::http::handler::{Admission, Handled, Handler};
pub use crate::http::headers::AnsweredBy;
pub use crate::http::refusal::refusal_response;
pub use crate::http::request::RequestContext;
pub use crate::http::revocable::{RevocableBody, RevocableStream, Revoked};
pub use crate::http::serve::{Entrances, serve, serve_also};
pub use crate::http::{body, content_coding, headers, trailers, tunnel};
pub use crate::process::events::Events;
pub use crate::process::{reload, run};
pub use crate::tls::leaves::LeafAuthority;
pub use bottle_contract::host::Host;
pub use bottle_contract::pipelock::Limits;
pub use bottle_contract::reason::Reason;
pub use bottle_policy::Refused;
pub use bottle_policy::target::Peer;
