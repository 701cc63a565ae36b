//! `bottle allow --finding`: lets a value pass that only looks like a secret, once a person has typed which rule found it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;

use bottle_contract::Untrusted;
use bottle_contract::event::Event;

use super::Own;
use crate::commands::{cannot_write, explain};
use crate::error::{Error, Result};
use crate::manifest::model::Resolved;
use crate::manifest::{Library, edit};
use crate::signals::Signals;
use crate::store::Layout;
use crate::terminal::{self, Answer, Messages};
use crate::workspace::Search;

const WHAT: &str = "nothing was allowed";

/// Shows the finding, asks, and adds the value's digest to `scan.allow`.
pub(super) fn run(id: &str, agent: Option<&str>, layout: &Layout, library: &Library, out: &mut dyn Write) -> Result<()> {
    let (entry, records) = explain::request(id, layout)?;
    let events = records.iter().map(|record| &record.event);
    let found = events.clone().find(|event| event.digest.is_some()).or_else(|| events.clone().find(|event| event.masked.is_some()));
    let unknown = || Error::usage(WHAT, format!("nothing was found in the request `{}`", Untrusted::new(id)), "`bottle explain` shows it");
    let event = found.ok_or_else(unknown)?;
    let (Some(rule), Some(digest)) = (&event.rule, &event.digest) else {
        let cause = "it is one of the bottle's own, too short or too plain to be told by a digest, or a key without an end";
        return Err(Error::usage(
            WHAT,
            cause,
            "take it out of what the agent sends; rules of your own can have exceptions: `bottle help scanner`",
        ));
    };
    let agent = agent.or(entry.metadata.as_ref().map(|metadata| metadata.agent.as_str())).unwrap_or("implementer");
    let before = library.resolve(agent)?;
    let own = Own::of(&before, &layout.config)?;
    let search = explain::file(&entry, &records);
    let item = format!("\"{digest}\" # {rule}{}", comment(search.as_ref()));
    let by_hand = || Error::failed(WHAT, format!("{}: {}", own.shown(), edit::FLOW), format!("add to its `scan.allow`: {item}"));
    let text = edit::with_excepted(&own.text, std::slice::from_ref(&item)).ok_or_else(by_hand)?;
    let after = own.with(&text, &before, library).resolve(agent)?;
    differs_in_exceptions_alone(&before, &after, digest)
        .map_err(|cause| Error::failed(WHAT, cause, "`bottle info` shows what is allowed"))?;
    confirm(&shown(event, rule, search.as_ref(), &own), rule)?;
    own.write(&text)?;
    writeln!(out, "bottles of `{}` that start from now on let this value pass, by {}", before.bottle.name, own.shown())
        .map_err(cannot_write)
}

/// What is to be allowed, without the value.
fn shown(event: &Event, rule: &str, search: Option<&Search>, own: &Own) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<8} {}", Untrusted::new(value));
    };
    row("rule", rule);
    row("place", event.place.as_deref().unwrap_or("not recorded"));
    row("value", event.masked.as_deref().unwrap_or("not recorded"));
    row("file", &search.map_or_else(|| "not searched".to_owned(), explain::search));
    row("sent to", event.origin.as_deref().unwrap_or("not recorded"));
    row("allow in", &own.file.to_string_lossy());
    text
}

/// A path in a comment of YAML: on one line.
fn comment(search: Option<&Search>) -> String {
    match search {
        Some(Search::Found(path)) => format!(", {}", Untrusted::new(path.as_os_str().as_encoded_bytes())),
        _ => String::new(),
    }
}

/// Asks for the rule's name: a person types it, and nobody by mistake.
fn confirm(shown: &str, rule: &str) -> Result<()> {
    let hint = "type the name of the rule if the value is no secret";
    if !terminal::is_interactive() {
        return Err(Error::usage(WHAT, "nobody can be asked: standard input or output is not a terminal", "run it in a terminal"));
    }
    let mut signals = Signals::listen().map_err(|e| Error::failed("cannot listen for signals", e, "raise `ulimit -n`"))?;
    let mut messages = Messages::default();
    let interrupted = |_| Error::failed(WHAT, "interrupted", hint);
    let question = format!("{shown}Every host will be sent this value. To allow it, type `{rule}`: ");
    terminal::drop_typed();
    messages.ask(&question, &mut signals).map_err(interrupted)?;
    match terminal::answer(&mut signals) {
        Answer::Line(line) if line.trim_ascii() == rule.as_bytes() => Ok(()),
        Answer::Line(_) => Err(Error::failed(WHAT, "the rule was not typed", hint)),
        Answer::Signal(signal) => {
            messages.write("\n");
            Err(interrupted(signal))
        }
    }
}

/// What was read again is what was there, and the one exception.
fn differs_in_exceptions_alone(before: &Resolved, after: &Resolved, digest: &str) -> std::result::Result<(), String> {
    if before.bottle.scan.allow.contains(digest) {
        return Err("the value is allowed already".to_owned());
    }
    let mut rest = after.clone();
    rest.bottle.origin = before.bottle.origin.clone();
    let allowed: BTreeSet<String> = std::mem::replace(&mut rest.bottle.scan.allow, before.bottle.scan.allow.clone());
    let expected: BTreeSet<String> = before.bottle.scan.allow.iter().cloned().chain([digest.to_owned()]).collect();
    if rest == *before && allowed == expected { Ok(()) } else { Err("more than the exception would change".to_owned()) }
}
