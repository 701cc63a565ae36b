//! The life of a bottle: performing the steps, watching the pieces, and tearing everything down.

pub mod cells;
pub mod end;
mod health;
mod launch;
pub mod operator;
pub mod records;
pub mod relay;
pub mod table;
pub mod watch;
mod words;

pub use watch::run;
