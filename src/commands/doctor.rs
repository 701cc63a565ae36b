//! `bottle doctor`: what this host gives, what is lost without the rest, and how to get it.

use std::io::Write;

use super::{Format, cannot_write};
use crate::agent_program;
use crate::doctor::{self, agents, probe};
use crate::error::{OrFail, Result};
use crate::help::Style;
use crate::manifest::Library;
use crate::store::Layout;

/// Check what this host gives to a bottle, and say whether one can start
///
/// Each sidecar, each agent's program and each variable that an agent's token comes from is named. Exit code 0 if bottles can start, 1 if not.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How to print it
    #[command(flatten)]
    pub format: Format,
}

/// Prints a line for each need, and the verdict; 1 if a bottle cannot start.
pub fn run(args: &Args, layout: &Layout, library: &dyn Fn() -> Result<Library>, style: Style, out: &mut dyn Write) -> Result<u8> {
    let mut findings = probe::all(layout);
    let toolchains = agent_program::toolchains(&[]);
    let host = agents::Host {
        toolchains: &toolchains,
        program: &|name| agent_program::look_up(name).map(|program| program.file.display().to_string()),
        is_set: &|name| std::env::var(name).is_ok_and(|value| !value.trim().is_empty()),
    };
    match library() {
        Ok(library) => findings.extend(agents::agents(&library, &host)),
        Err(error) => findings.push(agents::broken(error.what, error.cause.into(), error.hint)),
    }
    let text = match args.format {
        Format::Text => doctor::text(&findings, style),
        Format::Json => {
            serde_json::to_string_pretty(&doctor::json(&findings)).map(|text| text + "\n").or_bug("cannot print the findings")?
        }
    };
    out.write_all(text.as_bytes()).map_err(cannot_write)?;
    Ok(doctor::code(&findings))
}
