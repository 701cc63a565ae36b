//! `bottle`, the supervisor: turns a manifest into a plan, performs the plan, watches the run, and undoes it.
//!
//! ```text
//! manifest ──▶ plan ──▶ render ──▶ backend ──▶ lifecycle ──▶ backend
//! resolve      decide   as text    apply       watch         undo
//! └────────── pure ───────────┘    └──────── effects ─────────────┘
//! ```
//!
//! The pure modules use no files, clock, environment, sockets or processes: facts, time and randomness come in as data. Modules with
//! effects are marked below. Clippy refuses effects everywhere else (`clippy.toml`), and `tests/it/tidy.rs` checks the arrows between modules.
//!
//! | what | where |
//! |---|---|
//! | command line, one file per command | [`cli`], [`commands`], [`help`], [`suggest`], [`error`] |
//! | decisions, pure | [`manifest`], [`plan`], [`render`], [`asks`], [`yaml`] |
//! | effects on the host | [`backend`], [`lifecycle`], [`workspace`], [`values`], [`ca`] |
//! | commands to a bottle that runs | [`control_socket`] |
//! | records of a run | [`store`], [`logs`], [`timeline`] |
//! | the operator's machine | [`doctor`], [`terminal`], [`agent_program`], [`trusted_program`], [`limits`], [`signals`], [`clock`], [`files`], [`sys`] |
//!
//! Code that runs inside a bottle is in `images/`: `init` is the first process of each component; `egress`, `pipelock`, `git-gate` and
//! `supervise` are the sidecars. Both sides agree on `images/contract`, and `bottle check` asks `images/policy`, the code that the sidecars themselves run.
//!
//! Two crates lie below: `src/base` (errors, files by descriptor, YAML, digests), and `images/builder`, which writes and unpacks images. The
//! builder knows neither manifests nor the store's layout, only directories and who may cancel it.
//!
//! # Invariants
//!
//! - The supervisor has one thread: the kernel kills a component when the thread that started it exits, and `clone` copies one thread only.
//! - Every object is recorded before it is created. The same code undoes it after a run and after a crash.
//! - Secret values exist in two places only: this process, and one tmpfs file readable by the sidecar that needs it. No plan, argument or log
//!   contains one.
//! - The agent starts only once every sidecar is ready, and is dead before any sidecar is asked to stop.
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | operator | the person who runs `bottle` |
//! | agent | the untrusted program, and the manifest that names it |
//! | bottle | the isolation around one agent, and the manifest that defines it |
//! | sidecar | a trusted program beside the agent: `egress`, `pipelock`, `git-gate`, `supervise` |
//! | component | the agent or a sidecar |
//! | process | a running component |
//! | manifest | a Markdown file whose front matter defines an agent or a bottle |
//! | plan | all that a start will do, as data; it names secrets and never contains one |
//! | step | one action of a plan, with its undo |
//! | facts | the properties of the host that a plan depends on |
//! | backend | the code that applies and undoes steps: `embedded` (namespaces) or `compose` (Docker) |
//! | object | a thing on the host that a step created and that must be undone |
//! | claim | the exclusive right to a bottle's directory in the store |
//! | ready | a sidecar's report that it serves; its heartbeats follow |
//! | grace | the time between a request to exit and a kill |
//! | reap | to collect the exit status of a process |
//! | upstream | the next hop of a request: the sidecar's own server, a proxy, or a git server |
//! | origin | the server that a request is for |
//! | route | a host, with the methods and paths that the agent may use there, and a credential |
//! | policy | all that one sidecar enforces |
//! | verdict | the answer of a policy: allow, or refuse with a reason |
//! | ask | a question to a person about what no route allows; a decision answers it, a lease bounds a yes |
//! | reason | the stable code of a refusal, such as `host_not_listed` |
//! | slot | the file name of a secret inside a sidecar; also the place of an open connection |
//! | generation | the number of a policy; each change of a running bottle makes the next |
//! | grant | a route that was approved for a running bottle, for a time or a number of requests |
//! | reach | what the policies of a bottle let out, as one value that can be compared |
//! | fingerprint | a keyed hash by which a sidecar recognises a secret that it does not have |
//! | event | a JSON line that a sidecar writes about a request |
//! | timeline | all events of a run in one order, each chained to the one before by its hash |
//! | chunk | a run of bytes from a stream |
//! | window | the bytes that the scanner looks at together |
//! | prefilter | a cheap test that shows where the scanner need not look |

#[expect(clippy::disallowed_methods, reason = "effect island: reads the host's programs")]
pub mod agent_program;
pub mod asks;
#[expect(clippy::disallowed_methods, reason = "effect island: performs plans")]
pub mod backend;
pub mod ca;
#[expect(clippy::disallowed_methods, reason = "effect island: prints, and sets the exit code")]
pub mod cli;
#[expect(clippy::disallowed_methods, reason = "effect island: the clocks")]
pub mod clock;
#[expect(clippy::disallowed_methods, reason = "effect island: runs commands")]
pub mod commands;
#[expect(clippy::disallowed_methods, reason = "effect island: the operators' socket")]
pub mod control_socket;
#[expect(clippy::disallowed_methods, reason = "effect island: probes the host")]
pub mod doctor;
pub mod help;
#[expect(clippy::disallowed_methods, reason = "effect island: the event loop; its state machine is pure")]
pub mod lifecycle;
pub mod limits;
pub mod logs;
pub mod manifest;
pub mod plan;
pub mod render;
pub mod signals;
#[expect(clippy::disallowed_methods, reason = "effect island: locks and their holders")]
pub mod store;
#[expect(clippy::disallowed_methods, reason = "effect island: system calls")]
pub mod sys;
#[expect(clippy::disallowed_methods, reason = "effect island: the operator's terminal")]
pub mod terminal;
pub mod timeline;
#[expect(clippy::disallowed_methods, reason = "effect island: files and programs that hold tokens")]
pub mod tokens;
#[expect(clippy::disallowed_methods, reason = "effect island: looks for programs on the host")]
pub mod trusted_program;
pub mod values;
#[expect(clippy::disallowed_methods, reason = "effect island: a deadline for diffs of hostile text")]
pub mod workspace;

pub use bottle_base::{digest, error, files, suggest, yaml};
