//! `bottle completions`: a script with which a shell asks `bottle` for completions, and the names that bottle offers.
//!
//! Names come from file names that match the grammar of names. Nothing is executed, no manifest is read, and no lock is waited for.

use std::io::Write;
use std::path::PathBuf;

use clap_complete::CompletionCandidate;
use clap_complete::env::Shells;

use super::output;
use crate::error::{Error, Result};
use crate::files::{Dir, entries};
use crate::help::TOPICS;
use crate::manifest;
use crate::store::{Id, Layout};

/// Set by the script when a shell requests completions.
pub const VARIABLE: &str = "BOTTLE_COMPLETE";

/// Print the completion script for a shell
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Shell that runs the script
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Zsh loads a file only at the first completion, which must be answered then.
const ZSH_FIRST: &str = "if [ \"$funcstack[1]\" = \"_bottle\" ]; then\n    _clap_dynamic_completer_bottle \"$@\"\nfi\n";

/// Prints the script.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8> {
    let name = args.shell.to_string();
    let shells = Shells::builtins();
    let shell = shells.completer(&name);
    let shell = shell.ok_or_else(|| Error::failed("cannot print the script", format!("no script for {name}"), "name another shell"))?;
    output(shell.write_registration(VARIABLE, "bottle", "bottle", "bottle", out).and_then(|()| {
        if name == "zsh" {
            out.write_all(ZSH_FIRST.as_bytes())?;
        }
        Ok(0)
    }))
}

/// Ids of bottles.
pub fn ids() -> Vec<CompletionCandidate> {
    let names = || -> Option<Vec<String>> {
        let store = Dir::open_private(&Layout::here().ok()?.state).ok()??;
        let names = entries(&store).ok()?;
        Some(names.iter().filter_map(|name| Some(name.to_str()?.parse::<Id>().ok()?.to_string())).collect())
    };
    candidates(names().unwrap_or_default())
}

/// Names of agents: the built-in ones, the operator's and this repository's.
pub fn agents() -> Vec<CompletionCandidate> {
    let names = || -> Option<Vec<String>> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let library = manifest::load(&Layout::here().ok()?.config, home.as_deref(), std::env::current_dir().ok().as_deref()).ok()?;
        Some(library.names(manifest::Kind::Agent).map(str::to_owned).collect())
    };
    candidates(names().unwrap_or_default())
}

/// Names of images.
pub fn images() -> Vec<CompletionCandidate> {
    let names = Layout::here().and_then(|layout| bottle_builder::names(&layout.config));
    candidates(names.unwrap_or_default())
}

/// Components that have a log.
pub fn components() -> Vec<CompletionCandidate> {
    candidates(["agent", "egress", "pipelock", "supervise", "git-gate"].map(str::to_owned).to_vec())
}

/// Topics of `bottle help`, besides the commands.
pub fn topics() -> Vec<CompletionCandidate> {
    TOPICS.iter().map(|topic| CompletionCandidate::new(topic.name).help(Some(topic.title().into()))).collect()
}

/// Defence in depth: a name must never control the terminal.
fn candidates(names: Vec<String>) -> Vec<CompletionCandidate> {
    names.into_iter().filter(|name| !name.chars().any(char::is_control)).map(CompletionCandidate::new).collect()
}
