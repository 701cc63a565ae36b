//! `bottle explain`: why a request was answered as it was.

use std::io::{self, Write};

use bottle_contract::Untrusted;
use bottle_contract::reason::Reason;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use super::{Format, NO, completions, named, output};
use crate::error::{Error, Result};
use crate::files::Dir;
use crate::render::explanation::{explain, refusal};
use crate::store::{Bottles, Entry, Layout};
use crate::timeline::{self, Record};
use crate::workspace::{self, Search};

/// Explain why a request was answered as it was: by which rule, and what can be done
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Request id, as the refusal and the logs give it
    pub request_id: String,
    /// Look in this bottle alone
    #[arg(long, value_name = "ID", add = ArgValueCandidates::new(completions::ids))]
    pub bottle: Option<String>,
    /// How to write the answer
    #[command(flatten)]
    pub format: Format,
}

/// The report in JSON.
#[derive(Serialize)]
struct Shown<'a> {
    bottle: &'a str,
    request_id: &'a str,
    verdict: &'static str,
    component: Option<&'a str>,
    reason: Option<Reason>,
    rule: Option<&'a str>,
    place: Option<&'a str>,
    hint: Option<&'static str>,
    /// The file of the agent's working directory that holds what was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    records: &'a [Record],
}

impl<'a> Shown<'a> {
    fn new(bottle: &'a str, request_id: &'a str, records: &'a [Record], file: Option<String>) -> Self {
        let events: Vec<_> = records.iter().map(|record| (record.component.as_str(), &record.event)).collect();
        let refused = refusal(&events);
        Self {
            bottle,
            request_id,
            verdict: if refused.is_some() { "refused" } else { "allowed" },
            component: refused.map(|(component, ..)| component),
            reason: refused.map(|(_, reason, _)| reason),
            rule: refused.and_then(|(_, _, event)| event.rule.as_deref()),
            place: refused.and_then(|(_, _, event)| event.place.as_deref()),
            hint: refused.map(|(_, reason, _)| reason.hint()),
            file,
            records,
        }
    }
}

/// Finds the request in the timelines of all bottles, and explains it.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let found = find(&args.request_id, args.bottle.as_deref(), layout)?;
    output(write(args.format, &args.request_id, &found, out))
}

/// The bottles that know this request, with their records of it.
fn find(id: &str, bottle: Option<&str>, layout: &Layout) -> Result<Vec<(Entry, Vec<Record>)>> {
    let plain = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !plain {
        let hint = "copy it from the refusal's `request_id`, or from `bottle logs --format json`";
        return Err(Error::usage(format!("`{}` is not a request id", Untrusted::new(id)), "an id is letters, digits and hyphens", hint));
    }
    let entries = match bottle {
        Some(bottle) => vec![named(layout, bottle)?],
        None => Bottles::list(layout)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let records = timeline::find(&layout.state.join(entry.id.as_str()), id)?;
        if !records.is_empty() {
            found.push((entry, records));
        }
    }
    if found.is_empty() {
        let hint = "`bottle list` shows the bottles that have records";
        let what = format!("there is no record of the request `{id}`");
        return Err(Error { code: NO, ..Error::usage(what, "no timeline names it", hint) });
    }
    Ok(found)
}

/// The one bottle that knows this request, with its records of it.
pub(super) fn request(id: &str, layout: &Layout) -> Result<(Entry, Vec<Record>)> {
    let mut found = find(id, None, layout)?;
    match found.len() {
        1 => Ok(found.remove(0)),
        count => Err(Error::usage(
            format!("{count} bottles have a request `{id}`"),
            "ids of requests are drawn by lot",
            "`bottle explain` shows both",
        )),
    }
}

fn write(format: Format, id: &str, found: &[(Entry, Vec<Record>)], out: &mut dyn Write) -> io::Result<u8> {
    for (entry, records) in found {
        let (bottle, file) = (entry.id.as_str(), file(entry, records));
        match format {
            Format::Json => {
                let file = file.and_then(|search| match search {
                    Search::Found(path) => Some(path.to_string_lossy().into_owned()),
                    Search::None | Search::Bounded => None,
                });
                let shown = Shown::new(bottle, id, records, file);
                writeln!(out, "{}", crate::logs::escape_for_terminal(&serde_json::to_string(&shown)?))?
            }
            Format::Text => {
                let events: Vec<_> = records.iter().map(|record| (record.component.as_str(), &record.event)).collect();
                out.write_all(explain(bottle, id, &events).as_bytes())?;
                file.iter().try_for_each(|search| writeln!(out, "  {:<10} {}", "file", self::search(search)))?;
            }
        }
    }
    Ok(0)
}

/// Searches the agent's working directory for what was found, by its digest.
pub(super) fn file(entry: &Entry, records: &[Record]) -> Option<Search> {
    let event = records.iter().map(|record| &record.event).find(|event| event.digest.is_some())?;
    let metadata = entry.metadata.as_ref()?;
    // Of an overlay, the agent's directory holds only what it changed.
    let own = metadata.workspace.as_ref().map(|workspace| workspace.dir.clone());
    let mut last = None;
    for directory in own.into_iter().chain(metadata.directory.clone()) {
        let Ok(root) = Dir::open(&directory) else { continue };
        match workspace::file_with(&root, event.rule.as_deref()?, event.digest.as_deref()?) {
            Search::Found(path) => return Some(Search::Found(path)),
            other => last = if last == Some(Search::Bounded) { last } else { Some(other) },
        }
    }
    last
}

/// What a search came to, for people.
pub(super) fn search(search: &Search) -> String {
    match search {
        Search::Found(path) => format!("{} holds the value", Untrusted::new(path.as_os_str().as_encoded_bytes())),
        Search::None => "none in the agent's working directory holds the value".to_owned(),
        Search::Bounded => "none of those that were looked at holds the value; large files were left out".to_owned(),
    }
}
