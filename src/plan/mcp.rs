//! How MCP servers are registered with each program.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use bottle_contract::names;

use super::home::overlay;
use crate::manifest::model::{Agent, Bottle, McpServer};
use crate::manifest::provider::McpFormat;

/// The name under which the agent's program knows `supervise`.
const SUPERVISE: &str = "bottle";

/// The servers of an agent: those of its manifest, and the bottle's own.
pub(super) fn servers(agent: &Agent, bottle: &Bottle) -> BTreeMap<String, McpServer> {
    let mut servers = agent.mcp.clone();
    if bottle.supervise.is_some() {
        let (host, port) = names::SUPERVISE;
        servers.insert(SUPERVISE.to_owned(), McpServer::Url(format!("http://{host}:{port}/")));
    }
    servers
}

/// The text of a program's file with the servers in it.
pub(super) fn registered(text: &str, format: McpFormat, servers: &BTreeMap<String, McpServer>) -> String {
    let key = match format {
        McpFormat::Codex => return format!("{text}{}", toml(servers)),
        McpFormat::Opencode => "mcp",
        McpFormat::Claude | McpFormat::Gemini | McpFormat::Copilot => "mcpServers",
    };
    let entries: Map<String, Value> = servers.iter().map(|(name, server)| (name.clone(), entry(format, server))).collect();
    let mut whole = serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    overlay(&mut whole, Map::from_iter([(key.to_owned(), Value::Object(entries))]));
    format!("{}\n", Value::Object(whole))
}

fn entry(format: McpFormat, server: &McpServer) -> Value {
    match (format, server) {
        (McpFormat::Opencode, McpServer::Command { command, env }) => {
            json!({"type": "local", "command": command, "environment": env, "enabled": true})
        }
        (McpFormat::Opencode, McpServer::Url(url)) => json!({"type": "remote", "url": url, "enabled": true, "oauth": false}),
        (McpFormat::Gemini, McpServer::Url(url)) => json!({"httpUrl": url, "trust": true}),
        (McpFormat::Copilot, McpServer::Url(url)) => json!({"type": "http", "url": url, "tools": ["*"]}),
        (_, McpServer::Url(url)) => json!({"type": "http", "url": url}),
        (_, McpServer::Command { command, env }) => {
            let (program, arguments) = command.split_first().map_or((Value::Null, &[][..]), |(program, rest)| (json!(program), rest));
            let mut entry = json!({"command": program, "args": arguments, "env": env});
            let (key, value) = match format {
                McpFormat::Gemini => ("trust", json!(true)),
                McpFormat::Copilot => ("tools", json!(["*"])),
                McpFormat::Claude | McpFormat::Codex | McpFormat::Opencode => ("type", json!("stdio")),
            };
            entry[key] = value;
            entry
        }
    }
}

/// Tables of TOML. Its basic strings escape as JSON's do (TOML 1.0, "String").
fn toml(servers: &BTreeMap<String, McpServer>) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let mut out = String::new();
    for (name, server) in servers {
        let _ = writeln!(out, "[mcp_servers.{}]", quoted(name));
        match server {
            McpServer::Url(url) => drop(writeln!(out, "url = {}", quoted(url))),
            McpServer::Command { command, env } => {
                let arguments: Vec<String> = command.iter().skip(1).map(|argument| quoted(argument)).collect();
                let _ =
                    writeln!(out, "command = {}\nargs = [{}]", quoted(command.first().map_or("", String::as_str)), arguments.join(", "));
                let env: Vec<String> = env.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value))).collect();
                let _ = writeln!(out, "env = {{ {} }}", env.join(", "));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers() -> BTreeMap<String, McpServer> {
        let command = ["uvx", "a \"b\""].map(str::to_owned).to_vec();
        let local = McpServer::Command { command, env: BTreeMap::from([("LEVEL".to_owned(), "1".to_owned())]) };
        BTreeMap::from([("docs".to_owned(), McpServer::Url("https://mcp.test/x".to_owned())), ("local".to_owned(), local)])
    }

    // covers: W26
    #[test]
    fn each_program_reads_its_servers_in_its_own_format() {
        let of = |format, text| serde_json::from_str::<Value>(&registered(text, format, &servers())).unwrap();
        assert_eq!(
            of(McpFormat::Claude, r#"{"a":1,"mcpServers":{"mine":{}}}"#),
            json!({"a": 1, "mcpServers": {
                "mine": {},
                "docs": {"type": "http", "url": "https://mcp.test/x"},
                "local": {"type": "stdio", "command": "uvx", "args": ["a \"b\""], "env": {"LEVEL": "1"}},
            }})
        );
        assert_eq!(of(McpFormat::Gemini, "")["mcpServers"]["docs"], json!({"httpUrl": "https://mcp.test/x", "trust": true}));
        assert_eq!(of(McpFormat::Copilot, "")["mcpServers"]["local"]["tools"], json!(["*"]));
        assert_eq!(
            of(McpFormat::Opencode, "{}")["mcp"]["local"],
            json!({"type": "local", "command": ["uvx", "a \"b\""], "environment": {"LEVEL": "1"}, "enabled": true})
        );
        assert_eq!(
            registered("a = 1\n", McpFormat::Codex, &servers()),
            "a = 1\n[mcp_servers.\"docs\"]\nurl = \"https://mcp.test/x\"\n\
             [mcp_servers.\"local\"]\ncommand = \"uvx\"\nargs = [\"a \\\"b\\\"\"]\nenv = { \"LEVEL\" = \"1\" }\n"
        );
    }
}
