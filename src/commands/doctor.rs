//! `bottle doctor`: what this host gives, what is lost without the rest, and how to get it.

use std::io::Write;

use super::{Format, cannot_write};
use crate::doctor::{self, probe};
use crate::error::{Error, Result};
use crate::store::Layout;

/// Check what this host gives to a bottle
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Prints a line for each need; 125 if a bottle cannot start.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let findings = probe::all(layout);
    let text = match args.format {
        Format::Text => doctor::text(&findings),
        Format::Json => serde_json::to_string_pretty(&doctor::json(&findings))
            .map(|text| text + "\n")
            .map_err(|e| Error::failed("cannot print the findings", e, "this is a bug in bottle: please report it"))?,
    };
    out.write_all(text.as_bytes()).map_err(cannot_write)?;
    Ok(doctor::code(&findings))
}
