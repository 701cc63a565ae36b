//! `bottle diff`: what the agent changed.

use std::io::Write;

use super::{output, workspace};
use crate::error::Result;
use crate::files::Dir;
use crate::store::Layout;
use crate::workspace;

/// Shows what the agent changed in its working directory.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The bottle.
    pub id: String,
    /// Only counts, the first paths, and what runs by itself.
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
