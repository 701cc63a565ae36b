//! What both sides of the wall agree on: the supervisor writes it, the sidecars read it.
//!
//! Everything here is pure data and pure functions, but for [`handoff`], which takes over the descriptors that a
//! sidecar is started with. Nothing here depends on an async runtime, so that the supervisor can use it.

#![deny(unsafe_code)]

pub mod demo;
pub mod egress;
pub mod event;
pub mod gate;
#[expect(unsafe_code, reason = "descriptors come in as numbers")]
pub mod handoff;
pub mod host;
pub mod names;
pub mod path;
pub mod pipelock;
pub mod reason;
pub mod remote;
pub mod route;
pub mod rules;
pub mod untrusted;

pub use host::HostPattern;
pub use reason::Reason;
pub use rules::RuleFile;
pub use untrusted::Untrusted;
