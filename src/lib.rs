//! `bottle`, the supervisor: it resolves a wish into a plan, performs the plan, watches, and undoes it.
//!
//! ```text
//! wish ──▶ decision ──▶ plan ──▶ text ──▶ act ──────▶ watch ──▶ undo
//! cli      manifest     plan     render   backend     lifecycle  backend
//! ```
//!
//! The first four are pure: no files, clock, environment, sockets or processes. Facts, time and randomness come in as data. Modules that
//! act say so below; clippy refuses effects everywhere else (`clippy.toml`), and `tests/it/tidy.rs` checks who may depend on whom.
//!
//! What runs inside a bottle is not here but in `images/`: `init` (the first process of each component), `egress`, `pipelock`, and what they
//! share. The two sides agree on `images/contract` and on nothing else.
//!
//! Two crates lie below: `base` (errors, files by descriptor, YAML, digests), and `images/builder`, which writes and unpacks images. The
//! builder knows neither manifests nor the store's layout, only directories and who may cancel it.
//!
//! What must hold:
//! - One thread. The kernel ends the components when the thread that started them ends, and a `clone` copies one thread only.
//! - Nothing is made before it is recorded, and what is recorded is undone by the same code after a run and after a crash.
//! - A value of a secret is in this process, and in one file in memory for the one sidecar that uses it. It is in no plan, argument or log.
//! - The agent's first instruction comes after the last sidecar has said that it serves, and its last before any of them is asked to end.

#[expect(clippy::disallowed_methods, reason = "effect island: looks at the host's programs")]
pub mod agent_program;
#[expect(clippy::disallowed_methods, reason = "effect island: performs plans")]
pub mod backend;
pub mod ca;
#[expect(clippy::disallowed_methods, reason = "effect island: the end of the wire")]
pub mod cli;
#[expect(clippy::disallowed_methods, reason = "effect island: the clocks")]
pub mod clock;
#[expect(clippy::disallowed_methods, reason = "effect island: what the operator asks for is done")]
pub mod commands;
#[expect(clippy::disallowed_methods, reason = "effect island: asks the host; the table is pure")]
pub mod doctor;
pub mod help;
#[expect(clippy::disallowed_methods, reason = "effect island: the loop; its table is pure")]
pub mod lifecycle;
pub mod limits;
pub mod logs;
pub mod manifest;
pub mod plan;
pub mod render;
pub mod signals;
#[expect(clippy::disallowed_methods, reason = "effect island: locks, and who holds them")]
pub mod store;
#[expect(clippy::disallowed_methods, reason = "effect island: system calls")]
pub mod sys;
#[expect(clippy::disallowed_methods, reason = "effect island: the operator's terminal")]
pub mod terminal;
pub mod timeline;
pub mod values;
#[expect(clippy::disallowed_methods, reason = "effect island: a deadline for a diff of hostile text")]
pub mod workspace;

pub use bottle_base::{digest, error, files, suggest, yaml};
