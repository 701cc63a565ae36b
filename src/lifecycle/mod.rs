//! The life of a bottle: performing the steps, watching the components, and tearing everything down.
//!
//! A [`Run`] has four parts, each with fields of its own: the `starter` (the steps, and what they wait for), the `watch` (the processes, the
//! signals, and the state), the `records` (what is kept on disk) and the `operator` (the terminal, or whatever stands in its place). What
//! happens is an event, [`state_machine`] says what it leads to, and [`teardown`] is the end of every run.

pub mod asks_channel;
mod change;
mod drain;
mod grant_timer;
mod health;
pub mod operator;
pub mod outcome;
mod processes;
mod readiness;
mod records;
mod relay;
mod run;
mod signal_queue;
mod signature;
mod stage;
mod starter;
pub mod state_machine;
mod supervision;
mod teardown;
mod watch;
mod watched_process;

pub use change::Source as PolicySource;
pub use run::{Performer, Run, RunOptions};
pub use teardown::Report;

#[cfg(test)]
mod test_home;
