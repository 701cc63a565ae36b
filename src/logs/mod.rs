//! Logs of the components: whatever a component writes becomes lines of valid JSON in `logs/<component>.jsonl`, with nothing lost and nothing forged.

mod component;
mod entry;
mod line;
mod sink;
mod split;

pub use component::{ComponentLog, Drops, Source, Stream};
pub use entry::Entry;
pub use line::harmless;

/// The extension of log files.
pub const EXTENSION: &str = ".jsonl";
