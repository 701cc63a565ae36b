//! `bottle help`: the commands and topics, the help of a command, and a topic's text.

use std::io::Write;

use clap::Command;
use clap_complete::ArgValueCandidates;

use super::{completions, output, schema};
use crate::error::{Error, Result};
use crate::help::{Schemas, Style, TOPICS, Topic, parse, show};
use crate::manifest::raw;
use crate::suggest;

/// Show the help of a command or topic
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Command or topic; without it, all are listed
    #[arg(value_name = "TOPIC", add = ArgValueCandidates::new(completions::topics))]
    pub words: Vec<String>,
}

/// Shows help. A topic with a command's name follows that command's help.
pub fn run(args: &Args, mut definition: Command, style: Style, out: &mut dyn Write) -> Result<u8> {
    // Order matters: only a built definition knows the full names of its commands.
    definition.build();
    let mut text = match args.words.as_slice() {
        [] => list(&mut definition, style),
        words => command(&mut definition, words, style).unwrap_or_default(),
    };
    if let [name] = args.words.as_slice()
        && let Some(topic) = Topic::find(name)
    {
        text.push_str(if text.is_empty() { "" } else { "\n" });
        text.push_str(&topic_text(topic, style));
    }
    if text.is_empty() {
        return Err(unknown(&definition, &args.words.join(" ")));
    }
    output(out.write_all(text.as_bytes()).map(|()| 0))
}

/// Runs `work` with the schemas of manifests.
pub(super) fn with_schemas<T>(work: impl FnOnce(Schemas<'_>) -> T) -> T {
    let (bottle, agent) = (schema::schema::<raw::Bottle>(), schema::schema::<raw::Agent>());
    work(Schemas { bottle: &bottle, agent: &agent })
}

fn topic_text(topic: Topic, style: Style) -> String {
    let heading = format!("# {}: {}\n\n", topic.name, topic.title());
    show(&parse(&(heading + &with_schemas(|schemas| topic.markdown(schemas)))), style)
}

fn list(definition: &mut Command, style: Style) -> String {
    let topics: String = TOPICS.iter().map(|topic| format!("| {} | {} |\n", topic.name, topic.title())).collect();
    let table = format!("## Topics\n\n| topic | what it is about |\n|---|---|\n{topics}");
    format!("{}\n{}", rendered(definition, style), show(&parse(&table), style))
}

/// Clap's own help of a command, or `None` if there is no such command.
fn command(definition: &mut Command, words: &[String], style: Style) -> Option<String> {
    let mut found = definition;
    for word in words {
        found = found.find_subcommand_mut(word)?;
    }
    Some(rendered(found, style))
}

fn rendered(command: &mut Command, style: Style) -> String {
    let text = command.render_long_help();
    if style.colour { text.ansi().to_string() } else { text.to_string() }
}

fn unknown(definition: &Command, name: &str) -> Error {
    let escaped = bottle_contract::Untrusted::new(name).to_string();
    let commands = definition.get_subcommands().filter(|command| !command.is_hide_set()).map(Command::get_name);
    let names: Vec<&str> = commands.chain(TOPICS.iter().map(|topic| topic.name)).collect();
    let hint = suggest::among(name, names.iter().copied(), "there is help on");
    Error::usage(format!("there is no help on `{escaped}`"), "it is neither a command nor a topic", hint)
}
