//! The process around a proxy: its start and end, reloads, events, memory.

pub mod events;
pub mod reload;
pub mod run;

mod memory;
