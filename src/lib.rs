//! `bottle`, the supervisor: it resolves a wish into a plan, performs the plan, watches, and undoes it.
//!
//! wish → decision → plan → text → act → watch. The first four are pure.

pub mod backend;
pub mod ca;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod digest;
pub mod error;
pub mod files;
pub mod lifecycle;
pub mod limits;
pub mod logs;
pub mod manifest;
pub mod plan;
pub mod render;
pub mod signals;
pub mod store;
pub mod suggest;
pub mod sys;
pub mod terminal;
pub mod timeline;
pub mod values;
pub mod workspace;
pub mod yaml;
