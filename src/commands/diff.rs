//! `bottle diff`: what the agent changed.

use std::io::Write;

use clap_complete::ArgValueCandidates;

use super::{completions, output, workspace};
use crate::error::Result;
use crate::files::Dir;
use crate::store::Layout;
use crate::workspace;

/// Show what the agent changed in its working directory
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Bottle: `bottle list` shows them
    #[arg(add = ArgValueCandidates::new(completions::ids))]
    pub id: String,
    /// Show only counts, the first paths, and files that run by themselves
    #[arg(long)]
    pub summary: bool,
}

/// Writes the summary, and the differences behind it.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let place = workspace(layout, &args.id)?;
    let changes = workspace::changes(&place)?;
    let summary = workspace::summary(&changes);
    if args.summary || changes.list.is_empty() {
        return output(write!(out, "{summary}").map(|()| 0));
    }
    let (old, new) = (Dir::open(&place.source)?, Dir::open(&place.dir)?);
    output(writeln!(out, "{summary}").and_then(|()| workspace::diff(&old, &new, &changes, out)).map(|()| 0))
}
