//! `bottle explain`: why a request was answered as it was.

use std::io::{self, Write};

use bottle_contract::Untrusted;
use bottle_contract::reason::Reason;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use super::{Format, NO, completions, named, output};
use crate::error::{Error, Result};
use crate::render::explanation::{explain, refusal};
use crate::store::{Bottles, Layout};
use crate::timeline::{self, Record};

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
    records: &'a [Record],
}

impl<'a> Shown<'a> {
    fn new(bottle: &'a str, request_id: &'a str, records: &'a [Record]) -> Self {
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
            records,
        }
    }
}

/// Finds the request in the timelines of all bottles, and explains it.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let id = args.request_id.as_str();
    let plain = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !plain {
        let hint = "copy it from the refusal's `request_id`, or from `bottle logs --format json`";
        return Err(Error::usage(format!("`{}` is not a request id", Untrusted::new(id)), "an id is letters, digits and hyphens", hint));
    }
    let entries = match &args.bottle {
        Some(bottle) => vec![named(layout, bottle)?],
        None => Bottles::list(layout)?,
    };
    let mut found: Vec<(String, Vec<Record>)> = Vec::new();
    for entry in entries {
        let records = timeline::find(&layout.state.join(entry.id.as_str()), id)?;
        if !records.is_empty() {
            found.push((entry.id.to_string(), records));
        }
    }
    if found.is_empty() {
        let hint = "`bottle list` shows the bottles that have records";
        let what = format!("there is no record of the request `{id}`");
        return Err(Error { code: NO, ..Error::usage(what, "no timeline names it", hint) });
    }
    output(write(args.format, id, &found, out))
}

fn write(format: Format, id: &str, found: &[(String, Vec<Record>)], out: &mut dyn Write) -> io::Result<u8> {
    for (bottle, records) in found {
        match format {
            Format::Json => {
                writeln!(out, "{}", crate::logs::escape_for_terminal(&serde_json::to_string(&Shown::new(bottle, id, records))?))?
            }
            Format::Text => {
                let events: Vec<_> = records.iter().map(|record| (record.component.as_str(), &record.event)).collect();
                out.write_all(explain(bottle, id, &events).as_bytes())?;
            }
        }
    }
    Ok(0)
}
