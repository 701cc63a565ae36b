//! `bottle completions`: what a shell needs to complete the command line, from the definitions that parse it.

use std::io::Write;

use super::output;
use crate::error::Result;

/// Print the completions of the command line for a shell
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Prints the completions of `command`.
pub fn run(args: &Args, mut command: clap::Command, out: &mut dyn Write) -> Result<u8> {
    // The generator panics when it cannot write, so it writes into memory.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "bottle", &mut text);
    output(out.write_all(&text).map(|()| 0))
}
