//! The timeline of a bottle: one file of everything that crossed the wall, in one order, with each record chained to the one before.
//!
//! A line is `{"seq":…,"mono_us":…,"component":…, …event…,"prev":"…","hash":"…"}`. `hash` is the SHA-256 of the line without its `hash` member,
//! byte for byte, so that no canonical form is needed; `prev` is the hash of the line before, and so is part of what is hashed. The first
//! line is `start` and binds the id, the boot and the plan; the last is `end`, and counts the records and what logs have lost.
//!
//! The chain shows any change by whoever does not rewrite all that follows. Against somebody who can rewrite the whole file, keep the
//! last hash elsewhere: `bottle start` prints it, and `bottle audit verify --head` compares it.

mod find;
mod verify;
mod write;

pub use find::{Record, find};
pub use verify::{Broken, Report, verify};
pub use write::{Opening, Timeline, seal};

/// The name of the file, in the state directory.
pub const FILE: &str = "timeline.jsonl";
/// What stands for the hash before the first.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// What stands between a line and its hash.
const HASH_MEMBER: &str = ",\"hash\":\"";
/// The first record's event, and the last one's.
const START: &str = "start";
const END: &str = "end";
/// Who writes these two.
const COMPONENT: &str = "bottle";
