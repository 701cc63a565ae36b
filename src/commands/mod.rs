//! The commands, one file each: each takes arguments, and returns text and an exit code.

pub mod allow;
pub mod answer;
pub mod apply;
pub mod asks;
pub mod audit;
pub mod check;
mod chosen;
pub mod cleanup;
pub mod completions;
pub mod demo;
pub mod diff;
pub mod doctor;
mod ending;
pub mod explain;
mod format;
pub mod help;
mod home_files;
pub mod images;
pub mod info;
pub mod init;
pub mod invocation;
pub mod list;
pub mod logs;
pub mod man;
pub mod policy;
pub mod reload;
pub mod rm;
mod rules;
mod running;
pub mod schema;
pub mod start;
pub mod stop;
pub mod undo;

use std::io;

pub use format::Format;

use crate::error::{Error, Result};
use crate::store::{Bottles, Entry, Id, Layout};

/// Exit code: the answer is no.
pub const NO: u8 = 1;

/// The bottle that the operator named.
fn named(layout: &Layout, id: &str) -> Result<Entry> {
    let id: Id = id.parse()?;
    Bottles::find(layout, &id)?.ok_or_else(|| {
        Error::usage(format!("there is no bottle `{id}`"), "its state directory does not exist", "`bottle list` shows all bottles")
    })
}

/// Reports processes that outlived the supervisor.
fn left(entry: &Entry) -> String {
    let pids: Vec<String> = entry.remains().iter().map(u32::to_string).collect();
    let who = if pids.len() > 1 { format!("processes {} are", pids.join(", ")) } else { format!("process {} is", pids.join("")) };
    format!("its supervisor has exited, but {who} left")
}

/// Converts an output error. The command line decides whether the reader has just closed the pipe.
fn output(result: io::Result<u8>) -> Result<u8> {
    result.map_err(cannot_write)
}

/// The output could not be written.
pub(crate) fn cannot_write(error: io::Error) -> Error {
    Error::failed("cannot write the output", error, "check the file or program that reads it")
}
