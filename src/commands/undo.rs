//! `bottle undo`: what the last apply overwrote comes back.

use std::io::Write;

use bottle_contract::Untrusted;
use clap_complete::ArgValueCandidates;

use super::apply::{ended, list, reasons};
use super::chosen::Chosen;
use super::{NO, completions, output};
use crate::error::{Error, Result};
use crate::files::Dir;
use crate::store::Layout;
use crate::workspace;

/// Take back what `bottle apply` did last
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Bottle; without one, the latest of this directory
    #[arg(add = ArgValueCandidates::new(completions::ids))]
    pub id: Option<String>,
}

/// Undoes, and says of each path what became of it.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let arguments: Vec<String> = args.id.iter().cloned().collect();
    let chosen = Chosen::read(layout, &arguments)?;
    let claim = ended(&chosen, layout)?;
    let directory = chosen.metadata()?.directory.clone().ok_or_else(|| {
        Error::usage(format!("bottle `{}` has no directory", chosen.id()), "none is recorded", "only what was applied can be undone")
    })?;
    let undone = workspace::undo(claim.state(), &Dir::open(&directory)?)?;
    let mut told = || {
        for path in &undone.done {
            writeln!(out, "  {}", Untrusted::new(path.as_os_str().as_encoded_bytes()))?;
        }
        writeln!(out, "{} as before, {} left out", undone.done.len(), undone.out.len())?;
        list(out, "left out", &reasons(&undone.out))?;
        Ok(if undone.out.is_empty() { 0 } else { NO })
    };
    output(told())
}
