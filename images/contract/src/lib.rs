//! The contract between the supervisor and the sidecars: names, configurations, descriptors, events and reasons.
//!
//! Data and pure functions only, except [`handoff`], which takes over the descriptors that a sidecar starts with. Nothing
//! here depends on an async runtime, because the supervisor has none.

#![deny(unsafe_code)]

pub mod ask;
pub mod demo;
pub mod egress;
pub mod event;
pub mod fingerprints;
pub mod gate;
pub mod grant;
#[expect(unsafe_code, reason = "descriptors come in as numbers")]
pub mod handoff;
pub mod host;
pub mod local;
pub mod names;
pub mod path;
pub mod pipelock;
pub mod reason;
pub mod remote;
pub mod route;
pub mod rules;
pub mod supervise;
pub mod untrusted;

pub use fingerprints::Fingerprints;
pub use grant::Grant;
pub use host::HostPattern;
pub use reason::Reason;
pub use rules::RuleFile;
pub use untrusted::Untrusted;
