//! The scanner that pipelock and git-gate share: secrets and secret-shaped values in bytes of any kind.
//!
//! ```text
//! bytes ──▶ Stream (windows) ──▶ WindowScan::view ──▶ fingerprints   the bottle's own secrets, as keyed hashes
//!                                       │         ──▶ keywords ──▶ rules   one pass; an expression runs only near a keyword
//!                                       └───▶ prefilter ──▶ decode::* ──▶ WindowScan::view   one layer less, within a budget
//! ```
//!
//! Invariants: no I/O, no clock, no `unsafe`; a finding never holds the value; the verdict does not depend on how a stream was cut; what
//! cannot be scanned is a finding too, so a caller that does not know this case still refuses. Files import in one direction.

#![forbid(unsafe_code)]

mod answer;
mod decode;
mod engine;
mod entropy;
mod finding;
pub mod fingerprint;
#[cfg(fuzzing)]
pub mod fuzzing;
mod keywords;
mod known;
mod limits;
mod message;
mod paths;
pub mod placeholder;
mod prefilter;
mod redaction;
mod redactor;
mod rules;
mod scanner;
mod stream;
mod structure;
mod trail;
mod window;

pub use answer::{AnswerReader, Suspicion};
pub use finding::{BOTTLE_SECRET, Finding, HONEYTOKEN, NOT_SCANNABLE};
pub use fingerprint::{Fingerprints, Weak};
pub use known::Known;
pub use message::{Message, Said};
pub use paths::PathKind;
pub use redaction::Redacted;
pub use redactor::Redactor;
pub use rules::Rules;
pub use scanner::Scanner;
pub use stream::Stream;
pub use trail::{MAX_FRAGMENT, Trail};
pub use window::Exempt;
