//! `bottle reload`: makes a running bottle follow its manifests.

use std::io::{self, BufRead, Write};

use clap_complete::ArgValueCandidates;

use super::running::Running;
use super::{NO, cannot_write, completions, output};
use crate::control_socket::reload_command::{Difference, Reload, ReloadResult};
use crate::control_socket::{Request, Response};
use crate::error::{Error, Result};
use crate::store::Layout;
use crate::terminal;

/// Make a running bottle follow its edited manifests
///
/// Shows what the bottle would reach more and less, and asks. The change is in force in all sidecars or in none; what cannot change while a
/// bottle runs is named.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Bottle: `bottle list` shows them
    #[arg(add = ArgValueCandidates::new(completions::ids))]
    pub id: String,
    /// Change it without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Print the difference, and change nothing
    #[arg(short = 'n', long, conflicts_with = "yes")]
    pub dry_run: bool,
}

/// Shows the difference, asks, and waits until it is in force.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let bottle = Running::named(layout, &args.id)?;
    let difference = match reload(&bottle, None)? {
        Response::Reload(ReloadResult::Same { generation }) => {
            return output(writeln!(out, "{} follows its manifests already (generation {generation})", bottle.id).map(|()| 0));
        }
        Response::Reload(ReloadResult::Differs(difference)) => difference,
        _ => return Err(bottle.unexpected()),
    };
    show(&difference, out).map_err(cannot_write)?;
    if args.dry_run {
        return Ok(0);
    }
    if !args.yes && !agrees(&bottle.id, out)? {
        return output(writeln!(out, "nothing was changed").map(|()| NO));
    }
    match reload(&bottle, Some(difference.digest))? {
        Response::InForce { generation } => {
            output(writeln!(out, "{} follows its manifests now (generation {generation})", bottle.id).map(|()| 0))
        }
        _ => Err(bottle.unexpected()),
    }
}

fn reload(bottle: &Running, agreed: Option<String>) -> Result<Response> {
    bottle.ask(&Request::Reload(Reload { agreed }))
}

fn show(difference: &Difference, out: &mut dyn Write) -> io::Result<()> {
    let Difference { more, less, .. } = difference;
    for (title, lines) in [("reaches more:", more), ("reaches less:", less)] {
        if !lines.is_empty() {
            writeln!(out, "{title}")?;
        }
        lines.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    }
    if more.is_empty() && less.is_empty() {
        writeln!(out, "it reaches nothing more and nothing less; other settings of its sidecars change")?;
    }
    out.flush()
}

/// Asks the person at the terminal; no is the default.
fn agrees(id: &str, out: &mut dyn Write) -> Result<bool> {
    if !terminal::is_interactive() {
        let cause = "standard input or output is not a terminal";
        return Err(Error::usage("nobody can be asked whether to change the policy", cause, "add --yes"));
    }
    terminal::drop_typed();
    write!(out, "change {id}? [y/N] ").and_then(|()| out.flush()).map_err(cannot_write)?;
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|e| Error::failed("the answer cannot be read", e, "answer `y`, or add --yes"))?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
