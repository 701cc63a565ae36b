//! Changes of a running bottle's policy.
//!
//! A change becomes a new generation: planned, written for each sidecar it concerns, and acknowledged by one after the other ([`swap`]). While
//! one is under way others wait. Whoever asked for a change hears of it once every sidecar has acknowledged it, or once all are back at what
//! was in force.
//!
//! Order: as at the start, so pipelock comes before egress, whether reach grows or shrinks. Egress names the generation that judged a request,
//! and pipelock judges by the same one, which it keeps for a moment: no request is judged by halves of two.

mod grants;
mod policy_state;
pub(super) mod swap;
mod wanted;

pub use policy_state::Source;
pub(crate) use wanted::{Change, Lease, PolicyError, Requester};

pub(super) use policy_state::{Next, PolicyState, UnderWay, Wanted};
