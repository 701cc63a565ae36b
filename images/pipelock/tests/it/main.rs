//! `pipelock` as a whole, between a sibling's socket and origins on the loopback.

mod agent;
mod certificates;
mod leaks;
mod messages;
mod process;
mod stalls;
mod support;
mod websocket;
