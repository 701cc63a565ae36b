//! The life of a bottle: how it starts, runs, ends, and what it leaves behind.

mod abrupt;
mod bounds;
mod exit;
mod hang;
mod image;
mod launch;
mod output;
mod record;
mod secrets;
mod sidecars;
mod signals;
pub(crate) mod support;
mod terminal;
mod unread;
