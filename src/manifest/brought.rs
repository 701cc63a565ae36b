//! What an agent brings along: files of the operator's home, skills, MCP servers. A repository's agent may not name what lies on the host.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bottle_contract::Untrusted;

use super::host_path::{self, Base};
use super::model::{Home, McpServer, Origin};
use super::provider::in_home;
use super::{env, key, measure, raw};
use crate::yaml::{At, Problem};

const NOT_FROM_A_REPOSITORY: &str = "remove the key, or define the agent in your own configuration";

/// Reads the copies of the operator's files.
pub fn home(raw: &At<raw::Home>, origin: &Origin, base: Base<'_>) -> Result<Home, Problem> {
    refuse_repository(raw, "home", origin)?;
    let file = |(path, source): (&String, &At<String>)| {
        let inside = in_home(&At { value: path.clone(), line: source.line, column: source.column })?;
        Ok((inside, host_path::copied(source, base)?))
    };
    Ok(Home {
        defaults: raw.value.defaults.as_ref().is_some_and(|on| on.value),
        files: raw.value.files.iter().flatten().map(file).collect::<Result<_, _>>()?,
    })
}

/// Reads the directories of skills.
pub fn skills(raw: &At<Vec<At<String>>>, origin: &Origin, base: Base<'_>) -> Result<Vec<PathBuf>, Problem> {
    refuse_repository(raw, "skills", origin)?;
    raw.value.iter().map(|path| host_path::copied(path, base)).collect()
}

fn refuse_repository<T>(raw: &At<T>, name: &str, origin: &Origin) -> Result<(), Problem> {
    match origin {
        Origin::Repo(_) => Err(raw.problem(format!("a repository's agent may not bring `{name}` of this machine"), NOT_FROM_A_REPOSITORY)),
        Origin::Home(_) | Origin::BuiltIn => Ok(()),
    }
}

/// Reads the MCP servers. Their programs run inside the bottle, so a repository may name some.
pub fn mcp(raw: &BTreeMap<String, At<raw::McpServer>>) -> Result<BTreeMap<String, McpServer>, Problem> {
    raw.iter().map(|(name, server)| Ok((name.clone(), self::server(name, server)?))).collect()
}

fn server(name: &str, raw: &At<raw::McpServer>) -> Result<McpServer, Problem> {
    if !key::is_valid(name) {
        return Err(raw.problem(format!("`{}` is not a server's name", Untrusted::new(name)), key::GRAMMAR));
    }
    match &raw.value {
        raw::McpServer { url: Some(url), command: None, env: None } => {
            let plain = url.value.starts_with("https://") || url.value.starts_with("http://");
            if !plain || url.value.contains('@') || url.value.chars().any(char::is_control) {
                return Err(
                    url.problem("not the address of a server", "write https://host/path; a credential belongs in the route's `auth`")
                );
            }
            Ok(McpServer::Url(url.value.clone()))
        }
        raw::McpServer { url: None, command: Some(command), env } => {
            if command.value.first().is_none_or(|program| program.value.is_empty()) {
                return Err(command.problem("`command` names no program", "write `command: [program, argument]`"));
            }
            if let Some(word) =
                command.value.iter().find(|word| word.value.contains('\0') || word.value.len() > measure::MAX_ARGUMENT_BYTES)
            {
                return Err(word.problem("not an argument", "no program can be given one with a NUL, or one that long"));
            }
            let variable = |(name, value): (&String, &At<String>)| match env::is_name(name) && !env::is_reserved(name) {
                true => Ok((name.clone(), value.value.clone())),
                false => Err(value.problem(format!("`{}` cannot be a server's variable", Untrusted::new(name)), "remove it, or rename it")),
            };
            Ok(McpServer::Command {
                command: command.value.iter().map(|word| word.value.clone()).collect(),
                env: env.iter().flatten().map(variable).collect::<Result<_, _>>()?,
            })
        }
        _ => Err(raw.problem("a server is a `command`, which may have `env`, or a `url`", "keep one of them")),
    }
}
