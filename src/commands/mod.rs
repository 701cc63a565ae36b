//! The commands, one file each: arguments in, text out. Files and environment come in as paths and functions.

pub mod info;
pub mod init;
pub mod schema;
pub mod start;

use std::io;

use crate::error::Error;

/// The output could not be written.
pub(crate) fn cannot_write(error: io::Error) -> Error {
    Error::failed("cannot write the output", error, "check the file or program that reads it")
}
