//! The life of a bottle: performing the steps, watching the components, and tearing everything down.

mod health;
pub mod operator;
pub mod outcome;
mod output;
pub mod processes;
pub mod records;
pub mod relay;
mod starter;
pub mod state_machine;
pub mod watch;

pub use watch::run;
