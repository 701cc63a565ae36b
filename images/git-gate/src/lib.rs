//! `git-gate`, the git remote that the agent sees: an agent may push its work, and only its work.
//!
//! ```text
//! git ──http──▶ gate ──▶ service      which repository, which service
//!                 ├────▶ fetch        advert, ask: relayed, written anew
//!                 └────▶ push         commands ─▶ quarantine ─▶ pack ─▶ inspect ─▶ policy ─▶ verdict ─▶ forward
//!                                                                                      upstream: https, ssh ─▶ pipelock
//! ```
//!
//! What must hold:
//! - No git, shell or hook is run, and nothing that an agent writes is read as configuration: there is no repository
//!   here, only a pack.
//! - Every object of a pack is scanned, whatever refers to it, and a pack that cannot be read to its last byte is refused.
//! - What leaves is what was scanned: a sealed file whose hash is compared, and commands that the gate wrote itself.
//! - Nothing is kept: each answer to a fetch is upstream's own, of now.

#![forbid(unsafe_code)]

pub mod advert;
pub mod ask;
pub mod commands;
pub mod fetch;
pub mod gate;
pub mod gunzip;
pub mod harmless;
pub mod history;
pub mod inspect;
pub mod outlet;
pub mod pack;
pub mod pkt;
pub mod policy;
pub mod push;
pub mod quarantine;
pub mod report;
pub mod service;
pub mod table;
pub mod upstream;
