//! Renders text for people and for engines. Pure.

pub mod compose;
pub mod explanation;
pub mod preflight;
