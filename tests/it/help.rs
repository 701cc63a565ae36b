//! Help texts, topics and the README: one voice, and nothing in them that the program does not take.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bottle::manifest::Source;
use bottle::manifest::model::Origin;
use bottle::manifest::{Kind, Library, raw};
use bottle::{cli, help, yaml};

/// What a help text may begin with. A new one is a verb in the imperative.
const VERBS: &str = "Allow Answer Ask Bring Build Change Check Choose Compare End Exit Explain Export Follow Give Go Kill Keep Let List Look Make Overwrite Print Read Remove Run Say Send Set Show Start Stop Take Use Watch Write";

fn is_imperative(text: &str) -> bool {
    let first = text.split([' ', ',']).next().unwrap_or_default();
    VERBS.split(' ').any(|verb| verb == first)
}

/// Every command, by its whole name.
fn commands() -> Vec<(String, clap::Command)> {
    let mut definition = cli::definition();
    definition.build();
    let mut found = Vec::new();
    let mut ahead = vec![("bottle".to_owned(), definition)];
    while let Some((name, command)) = ahead.pop() {
        ahead.extend(command.get_subcommands().map(|inner| (format!("{name} {}", inner.get_name()), inner.clone())));
        found.push((name, command));
    }
    found
}

// covers: W32
#[test]
fn every_help_text_is_imperative_and_has_no_full_stop() {
    let mut wrong = Vec::new();
    for (name, command) in commands() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        if !is_imperative(&about) || about.ends_with('.') {
            wrong.push(format!("{name}: {about}"));
        }
        for arg in command.get_arguments() {
            let text = arg.get_help().map(ToString::to_string).unwrap_or_default();
            // A positional is named, an option says what it does.
            let fits = if arg.is_positional() { text.starts_with(char::is_uppercase) } else { is_imperative(&text) };
            if !fits || text.ends_with('.') {
                wrong.push(format!("{name} {}: {text}", arg.get_id()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

// covers: W31
#[test]
fn whoever_takes_a_format_takes_json_too() {
    let has = |command: &clap::Command, long: &str| command.get_arguments().any(|arg| arg.get_long() == Some(long));
    let formats: Vec<String> = commands().iter().filter(|(_, command)| has(command, "format")).map(|(name, _)| name.clone()).collect();
    let json: Vec<String> = commands().iter().filter(|(_, command)| has(command, "json")).map(|(name, _)| name.clone()).collect();
    assert!(formats.len() >= 8, "{formats:?}");
    assert_eq!(formats, json);
}

/// The README and the sources of topics.
fn texts() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let topics = fs::read_dir(root.join("src/help")).unwrap().map(|entry| entry.unwrap().path());
    let markdown = topics.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut paths: Vec<_> = markdown.chain([root.join("README.md")]).collect();
    paths.sort();
    paths.iter().map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap())).collect()
}

/// The blocks of one language: in which file, and what.
fn blocks(language: &str) -> Vec<(String, String)> {
    fn below(blocks: &[help::Block], language: &str, found: &mut Vec<String>) {
        for block in blocks {
            match block {
                help::Block::Code(name, text) if name == language => found.push(text.clone()),
                help::Block::List(items) => items.iter().for_each(|item| below(item, language, found)),
                _ => {}
            }
        }
    }
    let mut all = Vec::new();
    for (file, text) in texts() {
        let mut found = Vec::new();
        below(&help::parse(&text), language, &mut found);
        all.extend(found.into_iter().map(|text| (file.clone(), text)));
    }
    all
}

fn source(kind: Kind, name: &str, yaml: &str) -> Source {
    let text = format!("---\n{yaml}\n---\n");
    Source { kind, name: name.to_owned(), origin: Origin::Home("/config/x.md".into()), content: Ok(text.into_bytes()) }
}

/// Resolves a manifest as `bottle start` does.
fn resolve(yaml: &str, is_agent: bool) -> Result<(), String> {
    let yaml: String = yaml.lines().filter(|line| *line != "---").map(|line| format!("{line}\n")).collect();
    let sources = if is_agent {
        let agent: raw::Agent = yaml::parse(&yaml).map_err(|problem| format!("{problem:?}"))?;
        vec![source(Kind::Agent, "x", &yaml), source(Kind::Bottle, &agent.bottle.value, "workspace: overlay")]
    } else {
        vec![source(Kind::Agent, "x", "bottle: y\nprovider: shell"), source(Kind::Bottle, "y", &yaml)]
    };
    let library = Library::new(Some(Path::new("/home/ann")), sources, Vec::new());
    library.resolve("x").map(drop).map_err(|error| error.to_string())
}

// covers: W40
#[test]
fn every_yaml_block_of_the_documentation_can_be_used() {
    let found = blocks("yaml");
    assert!(found.len() >= 10, "{found:?}");
    for (file, text) in found {
        let head = text.lines().next().unwrap_or_default();
        if head == "# image" {
            bottle_builder::Recipe::read("x", &text, Some(Path::new("/"))).unwrap_or_else(|error| panic!("{file}: {error:?}\n{text}"));
            continue;
        }
        resolve(&text, head == "# agent" || head.contains("/agents/")).unwrap_or_else(|error| panic!("{file}: {error}\n{text}"));
    }
}

/// The words of a shell's line, without its comment; what separates commands is a word of its own.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '#' if !quoted && word.is_none() => break,
            ' ' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn every_command_line_in_the_documentation_is_one_that_bottle_takes() {
    let mut count = 0;
    for (file, text) in blocks("sh") {
        for line in text.lines() {
            for command in words(line).split(|word| matches!(word.as_str(), "|" | "&&" | ";")) {
                let redirected = command.iter().position(|word| word.starts_with('>')).unwrap_or(command.len());
                // Whatever stands before it runs it: `systemd-run … bottle start`.
                let Some(begin) = command.iter().position(|word| word == "bottle") else { continue };
                let arguments = &command[begin..redirected.max(begin)];
                cli::definition().try_get_matches_from(arguments).unwrap_or_else(|error| panic!("{file}: {line}\n{error}"));
                count += 1;
            }
        }
    }
    assert!(count >= 50, "{count} command lines were found");
}

#[test]
fn the_readme_has_at_most_150_lines_and_names_every_topic() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    assert!(readme.lines().count() <= 150, "{} lines", readme.lines().count());
    for topic in help::TOPICS {
        assert!(readme.contains(&format!("[{0}](src/help/{0}.md)", topic.name)), "{}", topic.name);
    }
}

#[test]
fn every_topic_is_listed_and_begins_with_its_name_and_title() {
    let listed: BTreeSet<String> = help::TOPICS.iter().map(|topic| format!("{}.md", topic.name)).collect();
    let there: BTreeSet<String> =
        texts().into_iter().map(|(file, _)| file).filter(|file| !["README.md", "examples.md"].contains(&&**file)).collect();
    assert_eq!(listed, there);
    for topic in help::TOPICS {
        let (_, text) = texts().into_iter().find(|(file, _)| *file == format!("{}.md", topic.name)).unwrap();
        assert!(text.starts_with(&format!("# {}: {}\n", topic.name, topic.title())), "{}", topic.name);
    }
}
