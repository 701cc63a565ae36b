//! `supervise`: the MCP server through which an agent asks, and the way by which sidecars that hold a request do.
//!
//! # The way of one question
//!
//! 1. An agent calls a tool ([`mcp`], over `bottle-wire`'s strict HTTP), or a sidecar that holds a request connects to a unix socket
//!    ([`holders`]). Each is a client with a number.
//! 2. What a client says goes over one inherited connection to the supervisor ([`supervisor_link`]), which keeps the questions, asks the
//!    person, and changes the policy.
//! 3. The reply goes back to that client. One that leaves is reported as gone.
//!
//! [`json_rpc`], [`revision`] and [`tools`] are pure: what a message says, by which revision of the protocol it is judged, and what the
//! tools take.
//!
//! Invariants: it holds no secret, no question and no decision, and reaches no network; it cannot grant anything. Without a supervisor it
//! exits, and with it the bottle ends.
//!
//! Absent on purpose: sessions, resumable streams, server requests, and tools beyond asking.

#![forbid(unsafe_code)]

pub mod holders;
pub mod json_rpc;
pub mod mcp;
mod progress;
mod rate;
pub mod revision;
pub mod supervisor_link;
pub mod tools;
