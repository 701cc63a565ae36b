//! `bottle man`: the manual pages, from the definitions that parse the command line.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::cannot_write;
use crate::error::Result;
use crate::files::{Dir, PUBLIC};

/// Write the manual pages, one for each command
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to write them
    pub directory: PathBuf,
}

/// Writes the pages of `command`, and names them.
pub fn run(args: &Args, command: clap::Command, out: &mut dyn Write) -> Result<u8> {
    for (name, page) in pages(command) {
        write(&args.directory, &name, &page)?;
        writeln!(out, "{name}").map_err(cannot_write)?;
    }
    Ok(0)
}

fn write(directory: &Path, name: &str, page: &[u8]) -> Result<()> {
    Dir::open(directory)?.replace_unsynced(name, page, PUBLIC)
}

/// The pages by the names of their files: `bottle.1`, `bottle-start.1`, `bottle-images-build.1` …
pub fn pages(command: clap::Command) -> Vec<(String, Vec<u8>)> {
    let mut pages = Vec::new();
    page(command.disable_help_subcommand(true), "bottle".to_owned(), &mut pages);
    pages
}

fn page(command: clap::Command, name: String, pages: &mut Vec<(String, Vec<u8>)>) {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        page(inner.clone(), format!("{name}-{}", inner.get_name()), pages);
    }
    // A page is named as its file; without a date it is the same on every day.
    let man = clap_mangen::Man::new(command.name(name.clone())).date("");
    let mut text = Vec::new();
    man.render(&mut text).expect("memory takes every byte");
    pages.push((format!("{name}.1"), text));
}
