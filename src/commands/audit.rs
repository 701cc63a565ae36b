//! `bottle audit`: verifies timelines.

use std::io::{self, Write};
use std::path::Path;

use bottle_contract::Untrusted;
use clap_complete::ArgValueCandidates;

use super::{NO, completions, named, output};
use crate::error::Result;
use crate::store::{Layout, Status};
use crate::timeline::{self, Broken, Report};

/// Check the timeline of a bottle: the record of all its requests
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    /// Action
    #[command(subcommand)]
    pub action: Action,
}

/// The action.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Check the timeline of a bottle; exit code 0 if it is intact and closed, 1 if not
    Verify {
        /// Bottle: `bottle list` shows them
        #[arg(add = ArgValueCandidates::new(completions::ids))]
        id: String,
        /// Compare with the last hash that `bottle start` printed, to detect even a completely rewritten file
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
}

/// Verifies the timeline, and reports the result.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let Action::Verify { id, head } = &args.action;
    let entry = named(layout, id)?;
    let path = layout.state.join(entry.id.as_str()).join(timeline::FILE);
    output(report(timeline::verify(&path), &entry.status, entry.id.as_str(), head.as_deref(), &path, out))
}

fn report(
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
        writeln!(out, "mismatch: the chain of {records} records is intact, but its last hash is {}", report.head)?;
        return Ok(NO);
    }
    if !closed {
        let why = match status {
            Status::Running => "the bottle is running",
            _ => "the bottle crashed, or the file was truncated",
        };
        writeln!(out, "not closed: the chain of {records} records is intact, but has no end ({why})")?;
        if torn > 0 {
            writeln!(out, "the last {torn} bytes are an incomplete record")?;
        }
        return Ok(NO);
    }
    writeln!(out, "whole: {records} records, last hash {}", report.head)?;
    if report.crashed {
        writeln!(out, "closed after a crash: buffered records are missing")?;
    }
    for (component, bytes) in &report.dropped {
        writeln!(out, "the log of {} is missing {bytes} bytes", Untrusted::new(component))?;
    }
    Ok(0)
}
