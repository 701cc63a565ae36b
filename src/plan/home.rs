//! Files of the agent's home: what its program would otherwise ask a person for, its instructions, MCP servers, and git's configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::agent::HOME;
use super::{git, mcp};
use crate::manifest::model::{Agent, Bottle};
use crate::manifest::provider::{Instructions, Provider};

/// Where the instructions are for a program that knows no place of its own.
pub(super) const INSTRUCTIONS: &str = ".config/bottle/instructions.md";

/// The files, by their path inside. `brought` are copies of the operator's, by their path in the home.
pub(super) fn files(
    agent: &Agent,
    bottle: &Bottle,
    directory: &Path,
    instructions: &str,
    brought: &BTreeMap<PathBuf, String>,
) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let provider = agent.program.provider();
    for (path, text) in provider.iter().flat_map(|provider| &provider.files) {
        files.insert(path.clone(), filled(text, directory));
    }
    for (path, text) in brought {
        let own = files.get(path).map(String::as_str);
        files.insert(path.clone(), own.map_or_else(|| text.clone(), |own| merged(text, own)));
    }
    match place(provider) {
        Some(path) => {
            let earlier = files.remove(&path).map(|text| format!("{}\n\n", text.trim_end())).unwrap_or_default();
            files.insert(path, format!("{earlier}{instructions}\n"));
        }
        None if writes_instructions(agent) => drop(files.insert(INSTRUCTIONS.into(), format!("{instructions}\n"))),
        None => {}
    }
    let servers = mcp::servers(agent, bottle);
    if let Some(place) = provider.and_then(|provider| provider.mcp.as_ref()).filter(|_| !servers.is_empty()) {
        let text = mcp::registered(files.get(&place.file).map_or("", String::as_str), place.format, &servers);
        files.insert(place.file.clone(), text);
    }
    // Git reads this file too; `~/.gitconfig` belongs to the agent.
    files.insert(".config/git/config".into(), git::config(&bottle.git, &git::author(agent, bottle)));
    files.into_iter().map(|(path, text)| (Path::new(HOME).join(path), text)).collect()
}

/// The provider's own file for instructions.
fn place(provider: Option<&Provider>) -> Option<PathBuf> {
    match &provider?.instructions {
        Instructions::File(path) => Some(path.clone()),
        Instructions::Arguments(_) | Instructions::Variable => None,
    }
}

/// True when a variable names the file of the instructions: the program has no place for them, and the manifest has a text.
pub(super) fn writes_instructions(agent: &Agent) -> bool {
    let own = agent.program.provider().map(|provider| &provider.instructions);
    matches!(own, None | Some(Instructions::Variable)) && !agent.prompt.is_empty()
}

/// The text with the working directory in its place, escaped as JSON and TOML do.
pub(super) fn filled(text: &str, directory: &Path) -> String {
    let quoted = serde_json::Value::from(&*directory.to_string_lossy()).to_string();
    text.replace("{workspace}", &quoted[1..quoted.len() - 1])
}

/// The operator's file, with what the provider says over it where both are JSON objects; otherwise the operator's alone.
fn merged(brought: &str, own: &str) -> String {
    match (serde_json::from_str(brought), serde_json::from_str(own)) {
        (Ok(serde_json::Value::Object(mut brought)), Ok(serde_json::Value::Object(own))) => {
            overlay(&mut brought, own);
            format!("{}\n", serde_json::Value::Object(brought))
        }
        _ => brought.to_owned(),
    }
}

/// Lays an object over another, key by key.
pub(super) fn overlay(base: &mut serde_json::Map<String, serde_json::Value>, over: serde_json::Map<String, serde_json::Value>) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(serde_json::Value::Object(inner)), serde_json::Value::Object(value)) => overlay(inner, value),
            (_, value) => drop(base.insert(key, value)),
        }
    }
}
