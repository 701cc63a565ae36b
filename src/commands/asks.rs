//! `bottle asks`: the questions that wait for a person.

use std::io::{self, Write};
use std::time::Duration;

use bottle_contract::supervise::AskState;
use clap_complete::ArgValueCandidates;

use super::running::Running;
use super::{Format, cannot_write, completions, named, output};
use crate::asks::plain_text::inert;
use crate::asks::question::Shown;
use crate::asks::{History, ask_journal, decision, replay};
use crate::clock;
use crate::control_socket::asks_command::AskList;
use crate::control_socket::{Request, Response};
use crate::error::{Error, Result};
use crate::files::Dir;
use crate::store::{Layout, Status};

/// Between two looks of `--watch`: a new question is seen within a tenth of a second.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// A larger journal is not from bottle.
const MAX_JOURNAL_BYTES: u64 = 64 << 20;

/// Show what agents ask for, and what a yes would open
///
/// Without a bottle, of all that run. Of one that has ended, what was asked and how it ended.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Bottle: `bottle list` shows them
    #[arg(add = ArgValueCandidates::new(completions::ids))]
    pub id: Option<String>,
    /// Print the list again whenever it changes, until interrupted
    #[arg(long)]
    pub watch: bool,
    /// How it is printed
    #[command(flatten)]
    pub format: Format,
}

/// Prints the questions.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    if let Some(id) = &args.id {
        let entry = named(layout, id)?;
        if entry.status != Status::Running {
            return output(print_histories(&histories(layout, id)?, args.format, out).map(|()| 0));
        }
    }
    let mut seen = None;
    loop {
        let lists = lists(args.id.as_deref(), layout)?;
        let revisions: Vec<(String, u64)> = lists.iter().map(|(id, list)| (id.clone(), list.revision)).collect();
        if seen.as_ref() != Some(&revisions) {
            let asks: Vec<&Shown> = lists.iter().flat_map(|(_, list)| &list.asks).collect();
            print(&asks, args.format, out).and_then(|()| out.flush()).map_err(cannot_write)?;
            seen = Some(revisions);
        }
        if !args.watch {
            return Ok(0);
        }
        std::thread::sleep(WATCH_INTERVAL);
    }
}

/// The questions of the bottles that run, or of one.
pub(super) fn lists(id: Option<&str>, layout: &Layout) -> Result<Vec<(String, AskList)>> {
    let running = match id {
        Some(id) => vec![Running::named(layout, id)?],
        None => Running::all(layout)?,
    };
    let mut lists = Vec::new();
    for bottle in running {
        match bottle.ask(&Request::Asks) {
            Ok(Response::Asks(list)) => lists.push((bottle.id.clone(), list)),
            Ok(_) => return Err(bottle.unexpected()),
            // It may have ended meanwhile.
            Err(error) if id.is_some() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(lists)
}

fn print(asks: &[&Shown], format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => writeln!(out, "{}", serde_json::to_string(asks)?),
        Format::Text if asks.is_empty() => writeln!(out, "no question waits"),
        Format::Text => asks.iter().try_for_each(|ask| out.write_all(text(ask).as_bytes())),
    }
}

/// One question, for people.
fn text(shown: &Shown) -> String {
    let span = |seconds| clock::span(Duration::from_secs(seconds));
    let times = if shown.count > 1 { format!(", {} times", shown.count) } else { String::new() };
    let held = match shown.held {
        0 => String::new(),
        held => format!(", {held} held"),
    };
    let mut text = format!(
        "{}  {}, {} ago{times}{held}, expires in {}{}\n",
        inert(&shown.ask),
        inert(&shown.source),
        span(shown.age),
        span(shown.expires),
        if shown.state == AskState::Granting { ", being granted" } else { "" },
    );
    for line in &shown.reach {
        text += &format!("  {}\n", inert(line));
    }
    if let Some(reason) = &shown.refused {
        text += &format!("  it was refused: {}\n", inert(reason));
    }
    text += &format!("  as a manifest says it: {}\n", inert(&shown.yaml));
    if let Some(says) = &shown.agent_says {
        text += &format!("  the agent's own words: | {}\n", inert(says));
    }
    let hash = &shown.hash[..decision::MIN_HASH_DIGITS.min(shown.hash.len())];
    let host = shown.credential.as_ref().map(|_| " --host HOST").unwrap_or_default();
    text += &format!("  bottle answer {} yes|no --hash {}{host}\n", inert(&shown.ask), inert(hash));
    text
}

fn histories(layout: &Layout, id: &str) -> Result<Vec<History>> {
    let Some(store) = Dir::open_private(&layout.state)? else { return Ok(Vec::new()) };
    let state = store.open_subdir(id)?;
    if state.stat(ask_journal::FILE)?.is_none() {
        return Ok(Vec::new());
    }
    let journal = state.read_bounded(ask_journal::FILE, MAX_JOURNAL_BYTES)?;
    let journal = String::from_utf8(journal)
        .map_err(|error| Error::failed("the journal of asks is unreadable", error, "do not change it: it is evidence"))?;
    Ok(replay(&journal))
}

fn print_histories(histories: &[History], format: Format, out: &mut dyn Write) -> io::Result<()> {
    if format == Format::Json {
        return writeln!(out, "{}", serde_json::to_string(histories)?);
    }
    if histories.is_empty() {
        return writeln!(out, "nothing was asked");
    }
    for History { ask, reach, state, reason, .. } in histories {
        let state = serde_json::to_value(state)?;
        let reason = reason.as_ref().map(|reason| format!(": {}", inert(reason))).unwrap_or_default();
        writeln!(out, "{}  {}{reason}", inert(ask), state.as_str().unwrap_or_default())?;
        reach.iter().try_for_each(|line| writeln!(out, "  {}", inert(line)))?;
    }
    Ok(())
}
