//! `bottle list`: lists bottles and their status.

use std::borrow::Cow;
use std::io::{self, Write};

use bottle_contract::Untrusted;
use serde::Serialize;

use super::{Format, left, output};
use crate::error::Result;
use crate::store::{Bottles, Entry, Exit, Layout, Metadata, Phase, Status};

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
    phase: Option<Phase>,
    exit: Option<&'a Exit>,
}

/// Prints the list.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let entries = Bottles::list(layout)?;
    let rows: Vec<Row<'_>> = entries.iter().map(row).collect();
    output(match args.format {
        Format::Json => json(&rows, out),
        Format::Text => text(&rows, out),
    })
}

fn row(entry: &Entry) -> Row<'_> {
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

fn text(rows: &[Row<'_>], out: &mut dyn Write) -> io::Result<u8> {
    if rows.is_empty() {
        writeln!(out, "there are no bottles")?;
        return Ok(0);
    }
    let width = rows.iter().map(|row| row.id.len()).max().unwrap_or_default().max("NAME".len());
    writeln!(out, "{:width$}  {:10}  {:24}  {:8}  EXIT", "NAME", "STATUS", "CREATED", "BACKEND")?;
    for row in rows {
        let exit = match (row.exit, &row.reason) {
            (_, Some(reason)) => Untrusted::new(reason.as_ref()).to_string(),
            (Some(exit), None) => match &exit.message {
                Some(message) => format!("{} ({})", exit.code, Untrusted::new(message)),
                None => exit.code.to_string(),
            },
            (None, None) => "-".to_owned(),
        };
        let created = Untrusted::new(row.created.unwrap_or("-")).to_string();
        let backend = Untrusted::new(row.backend.unwrap_or("-")).to_string();
        writeln!(out, "{:width$}  {:10}  {created:24}  {backend:8}  {exit}", row.id, row.status)?;
    }
    Ok(0)
}
