//! Text for people, from data. Pure.

pub mod preflight;
