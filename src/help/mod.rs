//! Help topics: Markdown in this directory, shown on a terminal by `bottle help TOPIC`, and written as manual pages by `bottle man`. Pure.
//!
//! To add a topic, add a file here and a row in [`TOPICS`]. Its first line is `# name: title`; tables have two columns.

mod manual;
mod markdown;
mod reference;
mod terminal;

pub use manual::{manual, section};
pub use markdown::{Block, Span, parse};
pub use terminal::{Style, show, wrap};

use serde_json::Value;

/// A topic.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    /// Its name, as in `bottle help NAME` and `bottle-NAME(7)`.
    pub name: &'static str,
    /// The manual section of its page: 5 for file formats, 7 for everything else.
    pub section: u8,
    text: &'static str,
}

const fn topic(name: &'static str, section: u8, text: &'static str) -> Topic {
    Topic { name, section, text }
}

/// All topics, in reading order for a newcomer.
pub const TOPICS: [Topic; 14] = [
    topic("cookbook", 7, include_str!("cookbook.md")),
    topic("manifest", 5, include_str!("manifest.md")),
    topic("network", 7, include_str!("network.md")),
    topic("asks", 7, include_str!("asks.md")),
    topic("git", 7, include_str!("git.md")),
    topic("scanner", 7, include_str!("scanner.md")),
    topic("timeline", 7, include_str!("timeline.md")),
    topic("compose", 7, include_str!("compose.md")),
    topic("images", 7, include_str!("images.md")),
    topic("nix", 7, include_str!("nix.md")),
    topic("exit-codes", 7, include_str!("exit-codes.md")),
    topic("environment", 7, include_str!("environment.md")),
    topic("files", 7, include_str!("files.md")),
    topic("development", 7, include_str!("development.md")),
];

/// The JSON Schemas from which the manifest reference is generated.
#[derive(Clone, Copy, Debug)]
pub struct Schemas<'a> {
    /// Of a bottle's front matter.
    pub bottle: &'a Value,
    /// Of an agent's.
    pub agent: &'a Value,
}

impl Topic {
    /// The topic of this name.
    pub fn find(name: &str) -> Option<Self> {
        TOPICS.into_iter().find(|topic| topic.name == name)
    }

    /// Its title.
    pub fn title(&self) -> &'static str {
        let line = self.text.lines().next().unwrap_or_default();
        line.split_once(": ").map_or(line, |(_, title)| title)
    }

    /// The text without its first line. `<!-- keys: bottle -->` is replaced by the reference of these keys.
    pub fn markdown(&self, schemas: Schemas<'_>) -> String {
        let (_, body) = self.text.split_once('\n').unwrap_or_default();
        let mut text = body.to_owned();
        for (name, schema) in [("bottle", schemas.bottle), ("agent", schemas.agent)] {
            let mark = format!("<!-- keys: {name} -->");
            if text.contains(&mark) {
                text = text.replace(&mark, &reference::keys(schema));
            }
        }
        text
    }
}

/// One section per command with examples: `## start`, then Markdown.
const EXAMPLES: &str = include_str!("examples.md");

/// The examples of a command, `bottle` or `bottle audit verify`, as Markdown.
pub fn examples(command: &str) -> Option<&'static str> {
    let sections = EXAMPLES.split("\n## ").skip(1);
    sections.filter_map(|section| section.split_once('\n')).find(|(name, _)| *name == command).map(|(_, text)| text.trim())
}
