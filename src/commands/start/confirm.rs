//! What the operator reads before a start, and whether they say yes.

use std::io::Write;

use super::Args;
use crate::backend::kind::Kind;
use crate::commands::{Format, cannot_write};
use crate::error::{Error, Result};
use crate::lifecycle::outcome;
use crate::plan::Plan;
use crate::render::preflight;
use crate::signals::Signals;
use crate::terminal::{self, Answer, Messages};

/// Prints what would be done.
pub(super) fn dry_run(args: &Args, kind: Kind, plan: &Plan, out: &mut dyn Write) -> Result<u8> {
    let text = match args.format {
        Format::Text => preflight::dry_run(plan, kind.name(), &[]),
        Format::Json => format!(
            "{:#}\n",
            serde_json::to_value(plan).map_err(|e| Error::failed(
                "cannot print the plan",
                e,
                "this is a bug in bottle: please report it"
            ))?
        ),
    };
    out.write_all(text.as_bytes()).map_err(cannot_write)?;
    Ok(0)
}

/// Shows the summary, and asks unless the operator has said yes already. False when the summary was not shown.
pub(super) fn confirm(args: &Args, kind: Kind, plan: &Plan, notes: &[String], signals: &mut Signals) -> Result<bool> {
    let asks = !args.yes && !args.headless;
    let mut messages = Messages::default();
    let summary = || preflight::preflight(plan, kind.name(), notes);
    if !asks {
        let shows = terminal::messages_are_seen();
        if shows {
            messages.write(&summary());
        }
        return Ok(shows);
    }
    let hint = "answer `y`, or add --yes";
    messages.ask(&summary(), signals).map_err(|signal| interrupted(signal, hint))?;
    if !terminal::is_interactive() {
        return Err(Error::usage("nobody can be asked whether to start", "standard input or output is not a terminal", "add --yes"));
    }
    terminal::drop_typed();
    messages.ask("start? [y/N] ", signals).map_err(|signal| interrupted(signal, hint))?;
    match terminal::answer(signals) {
        Answer::Line(line) if matches!(line.trim_ascii(), b"y" | b"Y" | b"yes") => Ok(true),
        Answer::Line(_) => Err(Error::failed("not started", "the answer was not yes", hint)),
        Answer::Signal(signal) => {
            // The cursor stands behind the question.
            messages.write("\n");
            Err(interrupted(signal, hint))
        }
    }
}

/// A signal came instead of an answer.
pub(super) fn interrupted(signal: i32, hint: &str) -> Error {
    let code = u8::try_from(128 + signal).unwrap_or(crate::error::FAILED);
    Error { code, ..Error::failed("not started", outcome::name(signal), hint) }
}
