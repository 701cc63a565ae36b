//! `git-gate`, the agent's git remote: an agent may push its own work, and nothing else.
//!
//! ```text
//! git ──http──▶ gate ──▶ service      which repository, which endpoint
//!                 ├────▶ fetch        advert, fetch_request: rewritten and relayed
//!                 └────▶ push         commands ─▶ quarantine ─▶ pack ─▶ inspect ─▶ ref_policy ─▶ verdict ─▶ forward
//!                                                                                      upstream: https, ssh ─▶ pipelock
//! ```
//!
//! What must hold:
//! - The gate runs no git, shell or hook, and never reads an agent's bytes as configuration: it has no repository, only a
//!   pack.
//! - Every object of a pack is scanned, reachable or not. A pack that cannot be read to its last byte is refused.
//! - Only scanned bytes leave: a sealed file whose hash is checked again, and commands that the gate wrote itself.
//! - Nothing is cached: upstream answers each fetch.

#![forbid(unsafe_code)]

pub mod advert;
pub mod commands;
pub mod escape;
pub mod fetch;
pub mod fetch_request;
pub mod gate;
pub mod gate_policy;
pub mod gunzip;
pub mod history;
pub mod inspect;
pub mod pack;
pub mod pkt;
pub mod push;
pub mod quarantine;
pub mod ref_policy;
pub mod report;
pub mod response;
pub mod service;
pub mod upstream;
