//! System calls that no crate wraps safely: the only unsafe code of the supervisor.

pub mod child;
pub mod clone;
pub mod disposition;
pub mod interrupt;
pub mod kernel;
pub mod userns;
