//! Text for people, from data. Pure.

pub mod explain;
pub mod preflight;
