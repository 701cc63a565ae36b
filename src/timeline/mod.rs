//! The timeline of a bottle: the events of all sidecars in one file, in one order, each chained to the one before by a hash.
//!
//! A line is `{"seq":…,"mono_us":…,"component":…, …event…,"prev":"…","hash":"…"}`. `hash` is the SHA-256 of the line without its `hash` member,
//! byte for byte, so no canonical form is needed. `prev` is the hash of the line before, and part of the hashed bytes. The first line is
//! `start` and binds the id, the boot and the plan. The last is `end`, with the number of records and of bytes that the logs have lost.
//!
//! The chain reveals any change, unless all that follows is rewritten too. To detect that, store the last hash elsewhere: `bottle start`
//! prints it, and `bottle audit verify --head` compares it.

mod find;
mod recorder;
mod verify;

pub use find::{Record, find};
pub use recorder::{Opening, Timeline, seal};
pub use verify::{Broken, Report, verify};

/// The name of the file, in the state directory.
pub const FILE: &str = "timeline.jsonl";
/// The hash before the first record.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The member that carries the hash.
const HASH_MEMBER: &str = ",\"hash\":\"";
/// The events of the first and the last record.
const START: &str = "start";
const END: &str = "end";
/// The component that writes these two.
const COMPONENT: &str = "bottle";
