//! Text for people and for engines, from data. Pure.

pub mod compose;
pub mod preflight;
