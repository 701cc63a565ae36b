//! `bottle cleanup`: removes the leftovers of bottles whose supervisor was killed. Running bottles are not touched.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bottle_contract::Untrusted;
use bottle_contract::event::rfc3339;

use crate::backend::compose::emptier;
use crate::backend::kind::Kind;
use crate::backend::{self, Logs};
use crate::error::{Error, Result};
use crate::files::Dir;
use crate::store::{Bottles, Claim, Entry, Forgotten, Layout, Metadata, Phase, Status, Takeover, Workspace};
use crate::workspace::{self, Ignored, Node, Report};

/// Remove the leftovers of killed bottles
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print what would be removed, and remove nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Remove ended bottles too, with their logs, unless they hold changes that were not applied
    #[arg(long)]
    pub all: bool,
    /// Remove changes too that were not applied, with --all
    #[arg(long, requires = "all")]
    pub force: bool,
    /// Remove ended bottles too that ended longer ago than this, as `30d` or `12h`, unless they hold changes that were not applied
    #[arg(long, value_name = "AGE", value_parser = age, conflicts_with = "all")]
    pub older_than: Option<Duration>,
    /// Ask this backend too, for leftovers that no bottle here accounts for
    #[arg(long, value_enum)]
    pub backend: Option<Kind>,
}

/// Cleans up. A bottle is running if its lock is held; a recorded pid does not count.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let mut first = None;
    let mut report_error = |error: Error| {
        let _ = writeln!(std::io::stderr(), "{error}");
        first.get_or_insert(error);
    };
    if !args.dry_run {
        unfinished(layout)?.into_iter().for_each(&mut report_error);
    }
    let mut count = 0;
    for entry in Bottles::list(layout)? {
        let crashed = match entry.status {
            Status::Running => continue,
            Status::Ended => false,
            Status::Crashed | Status::Held(_) | Status::Unreadable(_) => true,
        };
        let is_old = args.older_than.is_some_and(|age| ended_before(&entry, age));
        let removes = args.all || is_old && !crashed;
        if !crashed && !removes {
            continue;
        }
        count += 1;
        let what = if crashed { "the leftovers of" } else { "the logs of" };
        if args.dry_run {
            let is_protected = removes && !args.force && entry.metadata.as_ref().is_some_and(|m| unapplied(m).is_some());
            let verb = if is_protected { "would not remove" } else { "would remove" };
            writeln!(out, "{verb} {what} {}", entry.id).map_err(super::cannot_write)?;
            continue;
        }
        let extent = match (removes, args.force) {
            (false, _) => Extent::Rest,
            (true, false) => Extent::AllButWork,
            (true, true) => Extent::All,
        };
        match entry.end_remains().and_then(|()| clean(layout, &entry.id, extent)) {
            Ok(None) => writeln!(out, "removed {what} {}", entry.id).map_err(super::cannot_write)?,
            Ok(Some(note)) => writeln!(out, "{note}").map_err(super::cannot_write)?,
            Err(error) => report_error(error),
        }
    }
    for forgotten in Forgotten::list(layout)? {
        count += 1;
        if args.dry_run {
            writeln!(out, "would remove the runtime directory of {}", forgotten.id).map_err(super::cannot_write)?;
            continue;
        }
        match forgotten.remove() {
            Ok(()) => writeln!(out, "removed the runtime directory of {}", forgotten.id).map_err(super::cannot_write)?,
            Err(error) => report_error(error),
        }
    }
    if args.backend == Some(Kind::Compose) {
        count += strays(args, layout, out)?;
    }
    if count == 0 && first.is_none() {
        writeln!(out, "nothing to do").map_err(super::cannot_write)?;
    }
    // Each error was reported above; the exit code says that there was one.
    Ok(first.map_or(0, |error| error.code))
}

/// A span of time: a number and `m`, `h`, `d` or `w`.
fn age(text: &str) -> std::result::Result<Duration, String> {
    const UNITS: [(&str, u64); 4] = [("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)];
    let unit = UNITS.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let seconds = unit.and_then(|(number, seconds)| number.parse::<u64>().ok()?.checked_mul(*seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| "write a number and m, h, d or w, as 30d".to_owned())
}

/// True for a bottle that ended before the last `age`. RFC 3339 in UTC compares as text.
fn ended_before(entry: &Entry, age: Duration) -> bool {
    let since = SystemTime::now().checked_sub(age).and_then(|then| then.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let limit = rfc3339(since.as_secs(), since.subsec_millis());
    entry.metadata.as_ref().and_then(|metadata| metadata.exit.as_ref()).is_some_and(|exit| exit.ended < limit)
}

/// Removes an incomplete bottle that a killed start or removal left. The engine removes files of its root. Whatever remains is an error.
fn unfinished(layout: &Layout) -> Result<Vec<Error>> {
    let stuck = Claim::sweep_unfinished(layout)?;
    if stuck.is_empty() {
        return Ok(Vec::new());
    }
    let mut why: BTreeMap<_, _> = stuck.into_iter().filter_map(|(path, e)| Some((path.clone(), emptier::stray(&path, e).err()?))).collect();
    // Removes directories that are empty now.
    let left = Claim::sweep_unfinished(layout)?;
    Ok(left.into_iter().map(|(path, error)| why.remove(&path).unwrap_or(error)).collect())
}

/// Projects with this state directory's label, but without a bottle: its directory was removed.
fn strays(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<usize> {
    let owner = backend::compose::owner(&layout.state);
    let mut known = Vec::new();
    for entry in Bottles::list(layout)? {
        // An unreadable bottle may own any project.
        known.push(backend::compose::project(entry.id.as_str(), &owner));
    }
    let strays = backend::compose::undo::strays(&owner, &known)?;
    for project in &strays {
        if args.dry_run {
            writeln!(out, "would remove the project {project}").map_err(super::cannot_write)?;
            continue;
        }
        backend::compose::undo::stray(project)?;
        writeln!(out, "removed the project {project}").map_err(super::cannot_write)?;
    }
    Ok(strays.len())
}

/// How much of a stopped bottle is removed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Only what its supervisor would have removed: its logs and the agent's work stay.
    Rest,
    /// Everything, if the agent's work is not in it.
    AllButWork,
    /// Everything.
    All,
}

/// What of the agent's work is in no tree of the operator's, in a few words. Work that cannot be compared counts as such.
pub(super) fn unapplied(metadata: &Metadata) -> Option<String> {
    let place = metadata.workspace.as_ref()?;
    let look = || {
        let (changes, source) = (workspace::changes(place)?, Dir::open(&place.source)?);
        let report = Report::of(&changes, &mut Ignored::of(&source));
        let commits = report.has_commits() || has_commits_elsewhere(place)?;
        Ok::<_, Error>((report.files.len() + report.skipped.len(), commits))
    };
    let (changes, has_commits) = match look() {
        Ok(found) => found,
        Err(error) => return Some(error.cause.to_string()),
    };
    match changes {
        0 if has_commits => Some("the agent's commits are in no repository of yours".to_owned()),
        0 => None,
        1 => Some("1 change is in no tree of yours".to_owned()),
        count => Some(format!("{count} changes are in no tree of yours")),
    }
}

/// True if the agent committed to a git directory outside of its tree.
pub(super) fn has_commits_elsewhere(place: &Workspace) -> Result<bool> {
    let Some(git) = &place.git else { return Ok(false) };
    let changes = workspace::changes(git)?;
    let is_data = |path: &std::path::Path| ["objects", "refs", "packed-refs"].iter().any(|name| path.starts_with(name));
    Ok(changes.list.iter().any(|change| change.node != Node::Dir && is_data(&change.path)))
}

/// Removes one bottle that has ended, with all that is kept of it.
pub(super) fn remove(layout: &Layout, id: &crate::store::Id, force: bool) -> Result<()> {
    clean(layout, id, if force { Extent::All } else { Extent::AllButWork }).map(drop)
}

/// Refuses to remove a bottle with the agent's work.
fn refuse_work(claim: &Claim) -> Result<()> {
    let id = claim.id();
    let (cause, hint) = match (claim.damage(), claim.work()) {
        (Some(damage), Some(work)) => {
            let work = Untrusted::new(work.as_os_str().as_encoded_bytes());
            (damage.cause.to_string(), format!("look into {work}; `bottle rm --force {id}` removes it"))
        }
        _ => match unapplied(claim.metadata()) {
            None => return Ok(()),
            Some(cause) => (cause, format!("`bottle apply {id}` takes them, `bottle rm --force {id}` removes them")),
        },
    };
    Err(Error::failed(format!("bottle `{id}` is not removed: it contains the agent's work"), cause, hint))
}

/// Undoes a dead bottle. Returns a sentence if work was preserved because its record is unreadable.
fn clean(layout: &Layout, id: &crate::store::Id, extent: Extent) -> Result<Option<String>> {
    let Takeover::Dead(mut claim) = Claim::take_over(layout, id)? else { return Ok(None) };
    // Its supervisor may have been killed while it replaced a file. No other process writes here: the claim is ours.
    claim.state().sweep_unfinished()?;
    let damage = claim.damage().map(|error| error.cause.clone());
    let refused = if extent == Extent::AllButWork { refuse_work(&claim) } else { Ok(()) };
    let metadata = claim.metadata();
    if refused.is_err() && metadata.phase == Phase::Ended && metadata.exit.is_some() {
        return refused.map(|()| None);
    }
    let keep_logs = extent == Extent::Rest || refused.is_err();
    // Before the undo, it is unknown what a broken record refers to.
    let logs = if keep_logs { Logs::Kept } else { Logs::Removed };
    let kind = Kind::of(&claim);
    let errors = backend::undo(&mut *kind.for_removal(), &mut claim, logs);
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    if let (Some(damage), Some(work), true) = (&damage, claim.work(), keep_logs) {
        refused?;
        let work = Untrusted::new(work.as_os_str().as_encoded_bytes());
        return Ok(Some(format!("preserved the agent's work of {id} in {work}: its metadata cannot be read ({damage})")));
    }
    if damage.is_some() || !keep_logs {
        kind.remove_workspace(&claim)?;
        return claim.remove().map(|()| None);
    }
    crate::timeline::seal(claim.state(), &Default::default())?;
    claim.update(|m| {
        m.phase = Phase::Ended;
        m.exit.get_or_insert(crate::store::Exit {
            code: crate::error::FAILED,
            signal: None,
            message: Some("its supervisor was killed".into()),
            ended: crate::clock::now(),
        });
    })?;
    refused.map(|()| None)
}
