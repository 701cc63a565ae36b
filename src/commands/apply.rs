//! `bottle apply`: copies the agent's changes into the operator's directory.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bottle_contract::Untrusted;
use clap_complete::ArgValueCandidates;

use super::chosen::Chosen;
use super::{NO, completions, left, output};
use crate::error::{Error, Result};
use crate::files::Dir;
use crate::store::{Claim, Id, Layout, Status, Takeover};
use crate::workspace::{self, Applied, Changes, Choices, Ignored, Report, Resolution, Skipped};

/// Bring the agent's changes into your working directory
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Bottle, then paths to take over; without a bottle, the latest of this directory
    #[arg(value_name = "ID] [PATH", add = ArgValueCandidates::new(completions::ids))]
    pub what: Vec<String>,
    /// Keep your version where both of you changed the same
    #[arg(long, conflicts_with_all = ["theirs", "markers"])]
    pub ours: bool,
    /// Take the agent's version where both of you changed the same
    #[arg(long, conflicts_with = "markers")]
    pub theirs: bool,
    /// Write both versions, between markers, where both of you changed the same
    #[arg(long)]
    pub markers: bool,
    /// Take symlinks that lead out of the tree
    #[arg(long)]
    pub links: bool,
    /// Print what would be done, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

impl Args {
    fn resolution(&self) -> Resolution {
        match (self.ours, self.theirs, self.markers) {
            (true, ..) => Resolution::Ours,
            (_, true, _) => Resolution::Theirs,
            (.., true) => Resolution::Markers,
            _ => Resolution::Leave,
        }
    }
}

/// Applies the changes, and reports the result for each path.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let chosen = Chosen::read(layout, &args.what)?;
    let claim = ended(&chosen, layout)?;
    let Some(place) = chosen.workspace()? else { return output(writeln!(out, "no changes").map(|()| 0)) };
    let found = workspace::changes(place)?;
    let (old, new, base) = (Dir::open(&place.source)?, Dir::open(&place.dir)?, chosen.base()?);
    // Git's own data never comes with files; what git ignores is the agent's cache.
    let report = Report::of(&found, &mut Ignored::of(&old));
    let is_named = |path: &Path| chosen.paths.iter().any(|wanted| path.starts_with(wanted));
    let ignored = report.ignored.iter().filter(|change| is_named(&change.path));
    let mut list: Vec<_> = report.files.iter().chain(ignored).map(|change| (*change).clone()).collect();
    list.sort_by(|a, b| a.path.cmp(&b.path));
    let changes = Changes { list, skipped: found.skipped.clone() };
    let choices = Choices { resolution: args.resolution(), links: args.links, paths: chosen.paths.clone(), dry_run: args.dry_run };
    let at = workspace::Place { new: &new, target: &old, base: base.as_ref(), bottle: claim.state(), since: place.since };
    let applied = workspace::apply(&changes, &at, &choices)?;
    let is_done = !applied.done.is_empty() || !applied.merged.is_empty() || !applied.marked.is_empty();
    let ignored = report.ignored.iter().filter(|change| !is_named(&change.path)).count();
    output(tell(&applied, args.dry_run, ignored, out).and_then(|code| {
        if is_done && !args.dry_run {
            writeln!(out, "`bottle undo {}` takes it back", chosen.id())?;
        }
        Ok(code)
    }))
}

/// The bottle, if its agent cannot write any more.
pub(super) fn ended(chosen: &Chosen, layout: &Layout) -> Result<Box<Claim>> {
    let id: &Id = chosen.id();
    if !chosen.entry.remains().is_empty() {
        let what = format!("bottle `{id}` has not ended");
        return Err(Error::usage(what, left(&chosen.entry), "`bottle cleanup` ends it, then apply"));
    }
    let running = || {
        let hint = "wait until it ends, or `bottle stop` it";
        Error::usage(format!("bottle `{id}` runs"), "its agent may still write", hint)
    };
    if chosen.entry.status == Status::Running {
        return Err(running());
    }
    chosen.metadata()?;
    match Claim::take_over(layout, id)? {
        Takeover::Dead(claim) => Ok(claim),
        Takeover::Running => Err(running()),
        Takeover::Gone => {
            Err(Error::usage(format!("there is no bottle `{id}`"), "it was removed just now", "`bottle list` shows what there is"))
        }
    }
}

fn tell(applied: &Applied, is_dry: bool, ignored: usize, out: &mut dyn Write) -> io::Result<u8> {
    for (paths, letter) in [(&applied.done, ""), (&applied.merged, " (merged)"), (&applied.marked, " (conflict markers)")] {
        paths.iter().try_for_each(|path| writeln!(out, "  {}{letter}", shown(path)))?;
    }
    let count = applied.done.len() + applied.merged.len() + applied.marked.len();
    let verb = if is_dry { "would be applied" } else { "applied" };
    write!(out, "{count} {verb}, {} already identical, {} left out", applied.already, applied.out.len())?;
    match ignored {
        0 => writeln!(out)?,
        count => writeln!(out, ", {count} ignored by git")?,
    }
    list(out, "yours, as you chose", &applied.ours.iter().map(|path| (path, None)).collect::<Vec<_>>())?;
    list(out, "left out", &reasons(&applied.out))?;
    let in_conflict = applied.out.iter().any(|skipped| skipped.why.starts_with("you "));
    if in_conflict {
        writeln!(out, "`--ours`, `--theirs` or `--markers` decides what both of you changed")?;
    }
    Ok(if applied.is_whole() { 0 } else { NO })
}

pub(super) fn reasons(skipped: &[Skipped]) -> Vec<(&PathBuf, Option<&str>)> {
    skipped.iter().map(|skipped| (&skipped.path, Some(skipped.why.as_str()))).collect()
}

/// Paths under a title, each with its reason.
pub(super) fn list(out: &mut dyn Write, title: &str, paths: &[(&PathBuf, Option<&str>)]) -> io::Result<()> {
    if !paths.is_empty() {
        writeln!(out, "{title}:")?;
    }
    paths.iter().try_for_each(|(path, why)| match why {
        Some(why) => writeln!(out, "  {}: {why}", shown(path)),
        None => writeln!(out, "  {}", shown(path)),
    })
}

fn shown(path: &Path) -> Untrusted<'_> {
    Untrusted::new(path.as_os_str().as_encoded_bytes())
}
