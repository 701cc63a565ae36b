//! `pipelock` as a whole, between a sibling's socket and origins on the loopback.

mod again;
mod agent;
mod answers;
mod certificates;
mod intermediary;
mod leaks;
mod messages;
mod process;
mod redaction;
mod slow;
mod stalls;
mod support;
mod websocket;
