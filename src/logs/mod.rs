//! Logs of the pieces: whatever a piece writes becomes lines of valid JSON in `logs/<piece>.jsonl`, with nothing lost and nothing forged.

mod entry;
mod line;
mod piece;
mod sink;
mod split;

pub use entry::Entry;
pub use line::harmless;
pub use piece::{Drops, PieceLog, Source, Stream};

/// The extension of log files.
pub const EXTENSION: &str = ".jsonl";
