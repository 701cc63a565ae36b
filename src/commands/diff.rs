//! `bottle diff`: what the agent changed.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bottle_contract::Untrusted;
use clap_complete::ArgValueCandidates;

use super::chosen::Chosen;
use super::{completions, output};
use crate::error::Result;
use crate::files::Dir;
use crate::store::Layout;
use crate::terminal;
use crate::workspace::{self, Change, Ignored, Reader, Report, Skipped, Trees};

/// Show what the agent changed in its working directory, as a patch that `git apply` takes
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Bottle, then paths to show; without a bottle, the latest of this directory
    #[arg(value_name = "ID] [PATH", add = ArgValueCandidates::new(completions::ids))]
    pub what: Vec<String>,
    /// Show only counts, the first paths, and all files that run by themselves
    #[arg(long, conflicts_with_all = ["stat", "name_only"])]
    pub summary: bool,
    /// Show how many lines of each file changed
    #[arg(long, conflicts_with = "name_only")]
    pub stat: bool,
    /// Show only the paths
    #[arg(long)]
    pub name_only: bool,
    /// Show what git ignores, too
    #[arg(long)]
    pub ignored: bool,
}

/// Writes the patch; on a terminal, the summary first, and through `$PAGER`.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let chosen = Chosen::read(layout, &args.what)?;
    let Some(place) = chosen.workspace()? else {
        return output(writeln!(io::stderr(), "no changes").map(|()| 0));
    };
    let changes = workspace::changes(place)?;
    let (old, new, base) = (Dir::open(&place.source)?, Dir::open(&place.dir)?, chosen.base()?);
    let trees = Trees { old: &old, new: &new, base: base.as_ref() };
    let report = Report::of(&changes, &mut Ignored::of(&old));
    let redacted = redacted(&workspace::with_placeholders(&new, report.files.iter().copied()));
    if args.summary {
        return output(out.write_all((report.text() + &redacted).as_bytes()).map(|()| 0));
    }
    let wanted = |change: &&&Change| chosen.paths.is_empty() || chosen.paths.iter().any(|path| change.path.starts_with(path));
    let ignored = report.ignored.iter().filter(|_| args.ignored);
    let mut shown: Vec<&Change> = report.files.iter().chain(ignored).filter(wanted).copied().collect();
    shown.sort_by(|a, b| a.path.cmp(&b.path));
    let reader = if terminal::output_is_seen() { Reader::Person { colour: terminal::style().colour } } else { Reader::Program };
    let mut write = |out: &mut dyn Write| {
        if reader != Reader::Program {
            writeln!(out, "{}{redacted}", report.text())?;
        }
        if args.name_only {
            return shown.iter().try_for_each(|change| writeln!(out, "{}", workspace::quoted("", &change.path))).map(|()| Vec::new());
        }
        if args.stat {
            let (stats, skipped) = workspace::stat(trees, &shown)?;
            for stat in stats {
                match stat.lines {
                    Some((added, removed)) => writeln!(out, " {} | +{added} -{removed}", stat.path)?,
                    None => writeln!(out, " {} | binary", stat.path)?,
                }
            }
            return Ok(skipped);
        }
        workspace::patch(trees, &shown, reader, out)
    };
    let skipped = match reader {
        Reader::Person { .. } => paged(out, &mut write),
        Reader::Program => write(out),
    };
    let skipped = match skipped {
        Ok(skipped) => skipped,
        Err(error) => return output(Err(error)),
    };
    if reader == Reader::Program && !args.name_only && !report.is_empty() {
        // The patch itself is for a program.
        let _ = io::stderr().write_all((aside(&report, &skipped) + &redacted).as_bytes());
    }
    Ok(0)
}

/// Files into which a model wrote what it was shown in place of a secret.
pub(super) fn redacted(paths: &[&Path]) -> String {
    let mut text = String::new();
    for path in paths {
        text += &format!("holds a placeholder instead of a secret: {}\n", Untrusted::new(path.as_os_str().as_encoded_bytes()));
    }
    text
}

/// What a patch does not say.
fn aside(report: &Report<'_>, skipped: &[Skipped]) -> String {
    let mut text = format!("{}\n", report.counts());
    for (change, why) in &report.running {
        text += &format!("runs by itself: {}: {why}\n", Untrusted::new(change.path.as_os_str().as_encoded_bytes()));
    }
    for left in report.skipped.iter().copied().chain(skipped) {
        text += &format!("not in the patch: {}: {}\n", Untrusted::new(left.path.as_os_str().as_encoded_bytes()), left.why);
    }
    text
}

type Write2<'w> = &'w mut dyn FnMut(&mut dyn Write) -> io::Result<Vec<Skipped>>;

/// Writes into the operator's pager, or to the terminal where there is none.
fn paged(out: &mut dyn Write, write: Write2<'_>) -> io::Result<Vec<Skipped>> {
    let Some(mut pager) = pager() else { return write(out) };
    let Some(mut input) = pager.stdin.take() else { return write(out) };
    let written = write(&mut input);
    drop(input);
    let _ = pager.wait();
    match written {
        // Who has seen enough leaves.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Vec::new()),
        written => written,
    }
}

/// `$PAGER`, else less. What it is shown is escaped, but for colours.
fn pager() -> Option<Child> {
    let named = std::env::var("PAGER").unwrap_or_else(|_| "less".to_owned());
    if named.trim().is_empty() || named.trim() == "cat" || std::env::var("TERM").is_ok_and(|term| term == "dumb") {
        return None;
    }
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("exec {named}")]).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", "FRX");
    }
    command.spawn().ok()
}
