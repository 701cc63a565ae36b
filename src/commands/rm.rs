//! `bottle rm`: one bottle that has ended is removed, with its logs.

use std::io::Write;

use clap_complete::ArgValueCandidates;

use super::cleanup::remove;
use super::{completions, left, named, output};
use crate::error::{Error, Result};
use crate::store::{Layout, Status};

/// Remove ended bottles with their logs, unless they hold changes that were not applied
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Bottles
    #[arg(value_name = "ID", required = true, add = ArgValueCandidates::new(completions::ids))]
    pub ids: Vec<String>,
    /// Remove changes, too, that were not applied
    #[arg(short, long)]
    pub force: bool,
}

/// Removes them in turn, up to the first that cannot be.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    for id in &args.ids {
        let entry = named(layout, id)?;
        if entry.status == Status::Running {
            return Err(Error::usage(format!("bottle `{id}` runs"), "its supervisor is there", format!("`bottle stop {id}` ends it")));
        }
        if !entry.remains().is_empty() {
            return Err(Error::usage(format!("bottle `{id}` has not ended"), left(&entry), "`bottle cleanup` ends it"));
        }
        remove(layout, &entry.id, args.force)?;
        output(writeln!(out, "removed {id}").map(|()| 0))?;
    }
    Ok(0)
}
