//! `bottle audit`: whether a timeline is still what was written.

use std::io::{self, Write};
use std::path::Path;

use bottle_contract::Untrusted;
use clap_complete::ArgValueCandidates;

use super::{NO, completions, named, output};
use crate::error::Result;
use crate::store::{Layout, Status};
use crate::timeline::{self, Broken, Report};

/// Check the timeline of a bottle: the record of everything that crossed the wall
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Check the timeline of a bottle; exit code 0 if it is whole and closed, 1 if not
    Verify {
        /// Bottle: `bottle list` shows them
        #[arg(add = ArgValueCandidates::new(completions::ids))]
        id: String,
        /// Compare with the last hash that `bottle start` printed, so that even a file rewritten as a whole is found
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
}

/// Checks, and says what it found.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let Action::Verify { id, head } = &args.action;
    let entry = named(layout, id)?;
    let path = layout.state.join(entry.id.as_str()).join(timeline::FILE);
    output(tell(timeline::verify(&path), &entry.status, entry.id.as_str(), head.as_deref(), &path, out))
}

fn tell(
    verdict: Result<Report, Broken>,
    status: &Status,
    id: &str,
    head: Option<&str>,
    path: &Path,
    out: &mut dyn Write,
) -> io::Result<u8> {
    let report = match verdict {
        Ok(report) => report,
        Err(broken) => {
            writeln!(out, "broken at record {}: {}", broken.seq, Untrusted::new(&broken.why))?;
            writeln!(out, "in {}", path.display())?;
            return Ok(NO);
        }
    };
    let Report { records, closed, torn, .. } = report;
    if report.bottle != id {
        writeln!(out, "broken at record 0: it is the timeline of `{}`", Untrusted::new(&report.bottle))?;
        return Ok(NO);
    }
    if head.is_some_and(|head| !head.eq_ignore_ascii_case(&report.head)) {
        writeln!(out, "not the same: {records} records hold together, but the last hash is {}", report.head)?;
        return Ok(NO);
    }
    if !closed {
        let why = match status {
            Status::Running => "the bottle runs",
            _ => "the bottle did not end by itself, or the end was cut off",
        };
        writeln!(out, "not closed: {records} records hold together, but there is no end ({why})")?;
        if torn > 0 {
            writeln!(out, "the last {torn} bytes are half a record")?;
        }
        return Ok(NO);
    }
    writeln!(out, "whole: {records} records, last hash {}", report.head)?;
    if report.crashed {
        writeln!(out, "closed after a crash: what was in memory then is missing")?;
    }
    for (component, bytes) in &report.dropped {
        writeln!(out, "the log of {} is missing {bytes} bytes", Untrusted::new(component))?;
    }
    Ok(0)
}
