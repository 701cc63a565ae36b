//! `pipelock`: the only door of a bottle to the network.
//!
//! # The way of one request
//!
//! 1. `bottle_wire` accepts it, from a sibling sidecar over a unix socket or from the agent, and reads it strictly.
//! 2. `bottle_policy::pipelock_policy` says whether host and port are listed. Nothing is looked up for a host that is not.
//! 3. [`dlp`] scans the head, then the body: a small body whole, a large one ahead of what is sent.
//! 4. [`origin`] resolves the name once, has `bottle_policy::guard` judge every address, dials exactly those, and does the TLS.
//! 5. The answer streams back. [`door`] is where these steps are put together.
//!
//! Invariants: no address is dialled that was not judged as an address; no byte is sent that was not scanned; a request
//! is judged by one generation of the policy from beginning to end.
//!
//! Absent on purpose: following redirects, caching answers, retrying what an origin may have seen, a warn mode, a
//! default resolver, and any credential at rest.

#![forbid(unsafe_code)]

pub mod dlp;
pub mod door;
pub mod origin;
pub mod read_config;

#[cfg(test)]
mod testing;
