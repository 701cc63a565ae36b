//! Backends: how a plan is performed.

pub mod embedded;
