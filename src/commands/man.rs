//! `bottle man`: writes the manual pages of the commands, from the parser's definitions, and of the topics.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bottle_contract::Untrusted;
use clap::Command;

use super::cannot_write;
use super::help::with_schemas;
use crate::error::{Error, Result};
use crate::files::{Dir, PUBLIC};
use crate::help::{self, TOPICS, Topic};

/// Write the manual pages of all commands and topics
///
/// They are written to man1, man5 and man7 below the directory, as `man` looks for them in a directory of MANPATH.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Directory that they are written to
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub directory: PathBuf,
}

/// Additional sections of the commands' pages. The page of `bottle` itself has all of them.
const SECTIONS: [(&str, &str, &[&str]); 3] = [
    (
        "EXIT STATUS",
        "exit-codes",
        &["bottle", "bottle-start", "bottle-check", "bottle-doctor", "bottle-audit-verify", "bottle-images-verify"],
    ),
    ("ENVIRONMENT", "environment", &["bottle", "bottle-start"]),
    ("FILES", "files", &["bottle", "bottle-start", "bottle-cleanup"]),
];

/// Writes the pages of `definition` and of all topics, and lists them.
pub fn run(args: &Args, definition: Command, out: &mut dyn Write) -> Result<u8> {
    for (name, page) in pages(definition) {
        let directory = args.directory.join(section(&name));
        write(&directory, &name, &page)?;
        writeln!(out, "{name}").map_err(cannot_write)?;
    }
    Ok(0)
}

/// `man1` of `bottle.1`.
fn section(name: &str) -> String {
    format!("man{}", name.rsplit('.').next().unwrap_or_default())
}

fn write(directory: &Path, name: &str, page: &[u8]) -> Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            let escaped = Untrusted::new(directory.as_os_str().as_encoded_bytes()).to_string();
            return Err(Error::failed(format!("cannot make the directory {escaped}"), error, "name a directory that exists and is yours"));
        }
        _ => {}
    }
    Dir::open(directory)?.replace_unsynced(name, page, PUBLIC)
}

/// The pages by file name: `bottle.1`, `bottle-images-build.1`, `bottle-manifest.5` …
pub fn pages(definition: Command) -> Vec<(String, Vec<u8>)> {
    let version = definition.get_version().unwrap_or_default().to_owned();
    let mut pages = Vec::new();
    command(definition.disable_help_subcommand(true), "bottle".to_owned(), &mut pages);
    with_schemas(|schemas| {
        for topic in TOPICS {
            let page = help::manual(topic, schemas, &version);
            pages.push((format!("bottle-{}.{}", topic.name, topic.section), page.into_bytes()));
        }
        pages
    })
}

fn command(definition: Command, name: String, pages: &mut Vec<(String, Vec<u8>)>) {
    for inner in definition.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        command(inner.clone(), format!("{name}-{}", inner.get_name()), pages);
    }
    let mut text = Vec::new();
    page(definition, &name, &mut text).expect("memory takes every byte");
    pages.push((format!("{name}.1"), text));
}

fn page(definition: Command, name: &str, out: &mut Vec<u8>) -> io::Result<()> {
    let full_name = name.replace('-', " ");
    let has_commands = definition.has_subcommands();
    // A page has the name of its file, and no date, so that it is reproducible.
    let man = clap_mangen::Man::new(definition.name(name.to_owned())).date("");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if has_commands {
        man.render_subcommands_section(out)?;
    }
    if let Some(examples) = help::examples(&full_name) {
        out.write_all(help::section("EXAMPLES", examples).as_bytes())?;
    }
    for (title, topic, _) in SECTIONS.iter().filter(|(_, _, pages)| pages.contains(&name)) {
        let text = Topic::find(topic).map(|topic| with_schemas(|schemas| topic.markdown(schemas))).unwrap_or_default();
        out.write_all(help::section(title, &text).as_bytes())?;
    }
    out.write_all(help::section("SEE ALSO", &see_also(name)).as_bytes())
}

fn see_also(name: &str) -> String {
    let topics = TOPICS.iter().map(|topic| format!("**bottle-{}**({})", topic.name, topic.section));
    let first = (name != "bottle").then(|| "**bottle**(1)".to_owned());
    first.into_iter().chain(topics).collect::<Vec<_>>().join(", ")
}
