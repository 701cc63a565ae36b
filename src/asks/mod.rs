//! Asks: what an agent may request beyond its policy, who decides, and what a decision leads to. Pure: time and randomness come in as data.
//!
//! ```text
//! request or proposal ──▶ scope   ──▶ candidate ──▶ question ──▶ queue ──▶ effects
//! what is wanted          parsed      the new row    its hash     states    disk, policy, replies
//! ```
//!
//! | state | what happens | effect | next |
//! |---|---|---|---|
//! | open | a yes that names its hash | the decision is on disk, then the policy changes | granting |
//! | open | a no | the client hears the reason | denied |
//! | open | ten minutes | the client is refused | expired |
//! | open | everyone who asked has left | | withdrawn |
//! | open | the policy changes, and with it what a yes would open | another question takes its place | superseded |
//! | granting | every sidecar has the new policy | the client's request is judged again | granted |
//! | granting | a sidecar does not take it | the client is refused | failed |
//! | granted | the lease ends | the grant is taken out of the policy | ended |
//!
//! Invariants:
//! - Nothing is granted without a decision that names the question's hash, and with it what would be opened.
//! - A decision is on disk before it takes effect, counts once, and the first valid one wins.
//! - A journal that ends early, wherever it was cut, grants nothing: grants live in the policy of running sidecars only.

pub mod ask_journal;
mod bounds;
pub mod candidate;
mod canonical;
pub mod decision;
pub mod events;
pub mod plain_text;
pub mod question;
pub mod queue;
pub mod scope;

#[cfg(test)]
mod sequences;

pub use ask_journal::{History, Record, replay};
pub use decision::{Decision, Lease, Rejected, Verdict};
pub use events::{Effect, Input, Settings};
pub use question::Question;
pub use queue::Queue;
