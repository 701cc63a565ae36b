//! `bottle list`: lists bottles and their status.

use std::borrow::Cow;
use std::io::{self, Write};

use bottle_contract::Untrusted;
use serde::Serialize;

use super::ending::Requests;
use super::{Format, left, output};
use crate::error::Result;
use crate::files::Dir;
use crate::store::{Bottles, Entry, Exit, Layout, Metadata, Phase, Status};
use crate::{clock, workspace};

/// List all bottles: running, stopped with logs, and crashed
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How to write the list
    #[command(flatten)]
    pub format: Format,
}

/// One bottle, as programs read it.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    agent: Option<&'a str>,
    bottle: Option<&'a str>,
    backend: Option<&'a str>,
    created: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
    /// What became of the agent's changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Work>,
    /// Secrets that were redacted in its requests.
    #[serde(skip_serializing_if = "is_zero")]
    redacted: u64,
    phase: Option<Phase>,
    exit: Option<&'a Exit>,
}

/// What became of the agent's changes.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Work {
    /// They are with the bottle alone.
    Kept,
    /// They were applied, all or some of them.
    Applied,
}

/// Writes the list: what runs first, then what worked in this directory, the latest first.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let mut entries = Bottles::list(layout)?;
    let here = std::env::current_dir().unwrap_or_default();
    entries.sort_by_cached_key(|entry| {
        let metadata = entry.metadata.as_ref();
        let is_here = metadata.and_then(|m| m.directory.as_deref()).is_some_and(|directory| here.starts_with(directory));
        let created = metadata.map(|m| m.created.clone()).unwrap_or_default();
        (entry.status != Status::Running, !is_here, std::cmp::Reverse(created), entry.id.clone())
    });
    let rows: Vec<Row<'_>> = entries.iter().map(|entry| row(entry, work(entry, layout), redacted(entry, layout))).collect();
    output(match args.format {
        Format::Json => json(&rows, out),
        Format::Text => text(&rows, clock::now().as_str(), out),
    })
}

fn work(entry: &Entry, layout: &Layout) -> Option<Work> {
    let is_kept = entry.metadata.as_ref()?.workspace.is_some();
    let state = Dir::open(&layout.state.join(entry.id.as_str())).ok();
    if entry.status == Status::Running {
        // Nobody knows yet.
        return None;
    }
    match state.and_then(|state| workspace::is_applied(&state).ok()) {
        Some(true) => Some(Work::Applied),
        _ => is_kept.then_some(Work::Kept),
    }
}

/// Of a bottle that runs, the timeline tells; of one that has ended, its record.
fn redacted(entry: &Entry, layout: &Layout) -> u64 {
    match entry.status {
        Status::Running => Requests::of(&layout.state.join(entry.id.as_str())).redacted,
        _ => entry.metadata.as_ref().map_or(0, |metadata| metadata.redacted),
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn row(entry: &Entry, changes: Option<Work>, redacted: u64) -> Row<'_> {
    let metadata = entry.metadata.as_ref();
    let (status, reason) = match &entry.status {
        Status::Running => ("running", metadata.and_then(silent)),
        Status::Ended => ("ended", None),
        Status::Crashed => ("crashed", remains(entry)),
        Status::Held(_) => ("held", remains(entry)),
        Status::Unreadable(reason) => ("unreadable", Some(reason.into())),
    };
    Row {
        id: entry.id.as_str(),
        status,
        reason,
        agent: metadata.map(|m| m.agent.as_str()),
        bottle: metadata.map(|m| m.bottle.as_str()),
        backend: metadata.map(|m| m.backend.as_str()),
        created: metadata.map(|m| m.created.as_str()),
        directory: metadata.and_then(|m| Some(m.directory.as_ref()?.to_string_lossy().into_owned())),
        changes,
        redacted,
        phase: metadata.map(|m| m.phase),
        exit: metadata.and_then(|m| m.exit.as_ref()),
    }
}

/// The remaining processes of a bottle whose supervisor is gone.
fn remains(entry: &Entry) -> Option<Cow<'static, str>> {
    (!entry.remains().is_empty()).then(|| format!("{}: `bottle cleanup` kills it", left(entry)).into())
}

/// The unresponsive sidecars of a running bottle.
fn silent(metadata: &Metadata) -> Option<Cow<'_, str>> {
    let not = if metadata.silent.len() > 1 { "do not respond" } else { "does not respond" };
    (!metadata.silent.is_empty()).then(|| format!("{} {not}", metadata.silent.join(" and ")).into())
}

fn json(rows: &[Row<'_>], out: &mut dyn Write) -> io::Result<u8> {
    serde_json::to_writer_pretty(&mut *out, rows)?;
    writeln!(out)?;
    Ok(0)
}

fn text(rows: &[Row<'_>], now: &str, out: &mut dyn Write) -> io::Result<u8> {
    if rows.is_empty() {
        writeln!(out, "there are no bottles")?;
        return Ok(0);
    }
    let width = rows.iter().map(|row| row.id.len()).max().unwrap_or_default().max("NAME".len());
    let line = |out: &mut dyn Write, [name, status, age, changes, exit, directory]: [&str; 6]| {
        let text = format!("{name:width$}  {status:10}  {age:>4}  {changes:11}  {exit:6}  {directory}");
        writeln!(out, "{}", text.trim_end())
    };
    line(out, ["NAME", "STATUS", "AGE", "CHANGES", "EXIT", "DIRECTORY"])?;
    for row in rows {
        let age = row.created.and_then(|created| age(created, now)).unwrap_or_else(|| "-".to_owned());
        let changes = match row.changes {
            Some(Work::Applied) => "applied",
            Some(Work::Kept) => "not applied",
            None if row.status == "running" => "-",
            None => "none",
        };
        let exit = row.exit.map_or_else(|| "-".to_owned(), |exit| exit.code.to_string());
        let mut place = row.directory.as_deref().map_or(String::new(), |directory| Untrusted::new(directory).to_string());
        let message = row.exit.and_then(|exit| exit.message.as_deref());
        if let Some(reason) = row.reason.as_deref().or(message) {
            place = format!("{place} ({})", Untrusted::new(reason)).trim_start().to_owned();
        }
        if row.redacted > 0 {
            let secrets = if row.redacted == 1 { "secret" } else { "secrets" };
            place = format!("{place} ({} {secrets} redacted)", row.redacted).trim_start().to_owned();
        }
        line(out, [row.id, row.status, &age, changes, &exit, &place])?;
    }
    Ok(0)
}

/// How long ago, in the largest unit. Both are RFC 3339 in UTC.
fn age(then: &str, now: &str) -> Option<String> {
    let seconds = seconds(now)?.checked_sub(seconds(then)?)?;
    let units = [(604_800, "w"), (86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let (unit, name) = units.into_iter().find(|(unit, _)| seconds >= *unit).unwrap_or((1, "s"));
    Some(format!("{}{name}", seconds / unit))
}

/// Seconds since 1970 of `YYYY-MM-DDThh:mm:ss…` (Howard Hinnant's `days_from_civil`).
fn seconds(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let days = (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year).checked_sub(719_468)?;
    Some(days * 86_400 + number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: W36
    #[test]
    fn an_age_has_one_unit() {
        let now = "2026-03-01T00:00:10.000Z";
        for (then, expected) in [
            ("2026-03-01T00:00:08.500Z", "2s"),
            ("2026-02-28T23:58:00.000Z", "2m"),
            ("2026-02-28T12:00:00.000Z", "12h"),
            ("2026-02-26T00:00:00.000Z", "3d"),
            ("2025-12-01T00:00:00.000Z", "12w"),
        ] {
            assert_eq!(age(then, now).as_deref(), Some(expected), "{then}");
        }
        assert_eq!((seconds("1970-01-01T00:00:01Z"), age("nonsense", now)), (Some(1), None));
    }
}
