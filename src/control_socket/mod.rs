//! How an operator's commands reach a running bottle: a unix socket in its runtime directory, for its owner alone.
//!
//! One JSON object on each line, in both directions: `{"version":1,"body":…}`. A request gets exactly one response, in the order of the
//! requests. The supervisor serves several clients and waits for none: what does not fit its bounds ends the connection.
//!
//! The socket is in the runtime directory, which is recorded before it is made and removed at the end: no crash leaves it behind. To add a
//! command, add a file with its request and response, and a variant to each enum of [`message`].

pub mod asks_command;
mod client;
mod connection;
mod frame;
pub mod grant_command;
pub mod message;
pub mod policy_command;
pub mod reload_command;
mod server;

pub use client::ask;
pub use message::{Request, Response};
pub use server::{ClientId, Server};

/// The name of the socket in a bottle's runtime directory.
pub const FILE: &str = "control.sock";
/// The only version of the protocol.
pub const VERSION: u32 = 1;
/// The longest line. A policy of ten thousand routes fits.
pub const MAX_FRAME_BYTES: usize = 4 << 20;
