//! The life of a bottle: performing the steps, watching the pieces, and tearing everything down.

pub mod cells;
pub mod end;
pub mod operator;
pub mod records;
pub mod relay;
pub mod table;
pub mod watch;

pub use watch::run;
