//! The far end that bottle's tests talk to.
//!
//! ```text
//! listen ─▶ exchange ─▶ site::choose ─▶ drain the body ─▶ journal ─▶ site answers
//!    └ authority (a leaf for every name)
//! ```
//!
//! Order matters: a request is in the journal, flushed, before the first byte of its answer leaves. So a client that has an
//! answer finds its request recorded, and a request that is not recorded was not answered.
//!
//! The far end believes nobody: it is asked instead of bottle's own word, so it shares no code with the proxies.

mod authority;
mod exchange;
pub mod hops;
mod journal;
mod listen;
mod origin;
mod release;
mod site;
mod tee;

pub use bottle_test_support::origin::{Connection, Ready, Request};
pub use origin::{Options, Origin, Serve};
