//! Logs of the components: all output becomes valid JSON lines in `logs/<component>.jsonl`. Nothing is lost, and no component can forge
//! an event of another.

mod component;
mod entry;
mod line;
mod sink;
mod split;

pub use component::{ComponentLog, Drops, Source, Stream};
pub use entry::Entry;
pub use line::escape_for_terminal;

/// The extension of log files.
pub const EXTENSION: &str = ".jsonl";
