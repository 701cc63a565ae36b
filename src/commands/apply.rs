//! `bottle apply`: copies the agent's changes into the operator's directory.

use std::io::{self, Write};

use bottle_contract::Untrusted;
use clap_complete::ArgValueCandidates;

use super::{NO, completions, left, named, output, workspace};
use crate::error::{Error, Result};
use crate::files::Dir;
use crate::store::{Layout, Status};
use crate::workspace::{Applied, Choices, Skipped, apply, changes};

/// Bring the agent's changes into your working directory
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Bottle: `bottle list` shows them
    #[arg(add = ArgValueCandidates::new(completions::ids))]
    pub id: String,
    /// Overwrite files that changed since the start, and take symlinks that lead out of the tree
    #[arg(long)]
    pub force: bool,
    /// Take changes in `.git` too: hooks and configuration there can run programs on your machine
    #[arg(long)]
    pub git: bool,
}

/// Applies the changes, and reports the result for each path.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let entry = named(layout, &args.id)?;
    if !entry.remains().is_empty() {
        let what = format!("bottle `{}` has not stopped", args.id);
        return Err(Error::usage(what, left(&entry), "`bottle cleanup` stops it, then apply"));
    }
    if entry.status == Status::Running {
        let hint = "wait until it exits, or `bottle stop` it";
        return Err(Error::usage(format!("bottle `{}` is running", args.id), "its agent may still write", hint));
    }
    let place = workspace(layout, &args.id)?;
    let found = changes(&place)?;
    let choices = Choices { force: args.force, git: args.git };
    let applied = apply(&found, &Dir::open(&place.dir)?, &Dir::open(&place.source)?, place.since, choices)?;
    output(report(&applied, out))
}

fn report(applied: &Applied, out: &mut dyn Write) -> io::Result<u8> {
    let list = |out: &mut dyn Write, title: &str, paths: &[Skipped]| {
        if paths.is_empty() {
            return Ok(());
        }
        writeln!(out, "{title}:")?;
        paths.iter().try_for_each(|skipped| writeln!(out, "  {}: {}", escaped(&skipped.path), skipped.why))
    };
    if !applied.conflicts.is_empty() {
        list(out, "nothing was changed, because of these conflicts", &applied.conflicts)?;
        writeln!(out, "`--force` overwrites what changed since the start")?;
        return Ok(NO);
    }
    for path in &applied.done {
        writeln!(out, "  {}", escaped(path))?;
    }
    writeln!(out, "{} applied, {} unchanged, {} skipped", applied.done.len(), applied.already, applied.left_out.len())?;
    list(out, "skipped", &applied.left_out)?;
    if let Some(stopped) = &applied.stopped {
        list(out, "stopped half-way; the changes listed above stay", std::slice::from_ref(stopped))?;
        return Ok(NO);
    }
    Ok(0)
}

fn escaped(path: &std::path::Path) -> Untrusted<'_> {
    Untrusted::new(path.as_os_str().as_encoded_bytes())
}
