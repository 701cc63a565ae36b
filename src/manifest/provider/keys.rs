//! The keys of a provider as they are written. The JSON Schema is generated from these types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::manifest::{env, raw};
use crate::yaml::{At, written, written_list};

/// A provider: how an agent's program is found, started and set up. Read only from the home configuration, never from a repository.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "bottle: provider")]
pub struct Provider {
    /// The name that people call it by.
    pub title: At<String>,
    /// The program, looked up on your `PATH`.
    pub program: At<String>,
    /// How to install it, in one line.
    #[serde(default, deserialize_with = "written")]
    pub install: Option<At<String>>,
    /// Arguments at a terminal. `{model}`, `{instructions}`, `{resume}`, `{arguments}` and `{prompt}`, each an item by itself, stand for
    /// the keys of that name and for what follows `--` on the command line.
    #[serde(default, deserialize_with = "written_list")]
    pub interactive: Option<Vec<At<String>>>,
    /// Arguments without a person; `{stream}` besides. Without this key the program cannot run headless.
    #[serde(default, deserialize_with = "written")]
    pub headless: Option<Vec<At<String>>>,
    /// How it is given a task: `{}` stands for the text. The text alone if not given.
    #[serde(default, deserialize_with = "written")]
    pub prompt: Option<Vec<At<String>>>,
    /// The same without a person, if that differs.
    #[serde(default, deserialize_with = "written")]
    pub headless_prompt: Option<Vec<At<String>>>,
    /// How it prints events as they come: `--stream`.
    #[serde(default, deserialize_with = "written")]
    pub stream: Option<Vec<At<String>>>,
    /// How it goes on with its last conversation.
    #[serde(default, deserialize_with = "written")]
    pub resume: Option<Vec<At<String>>>,
    /// How it is told which model to use: `{}` stands for the name.
    #[serde(default, deserialize_with = "written")]
    pub model: Option<Vec<At<String>>>,
    /// Where the text of the agent's manifest goes. Without it: a file that `BOTTLE_INSTRUCTIONS` names.
    #[serde(default, deserialize_with = "written")]
    pub instructions: Option<At<Instructions>>,
    /// Where MCP servers are registered.
    #[serde(default, deserialize_with = "written")]
    pub mcp: Option<Mcp>,
    /// The directory of its home where skills go, one directory each.
    #[serde(default, deserialize_with = "written")]
    pub skills: Option<At<String>>,
    /// Its variables: telemetry and updates off, and what it would otherwise ask. Plain text.
    #[serde(default, deserialize_with = "written_list")]
    #[schemars(extend("propertyNames" = { "pattern": env::PATTERN }))]
    pub env: Option<BTreeMap<String, At<String>>>,
    /// Files of its home, by path: what it would otherwise ask a person. `{workspace}` stands for the working directory, escaped as in JSON.
    #[serde(default, deserialize_with = "written_list")]
    pub files: Option<BTreeMap<String, At<String>>>,
    /// Files of your home that `home: { defaults: true }` copies, by path: instructions and settings, never a credential.
    #[serde(default, deserialize_with = "written_list")]
    pub home: Option<Vec<At<String>>>,
    /// The hosts that it needs, without credentials: the preset `agent`.
    #[serde(default, deserialize_with = "written_list")]
    pub routes: Option<Vec<At<raw::Route>>>,
    /// Its credentials. Of several for one host the first whose variable is set counts.
    #[serde(default, deserialize_with = "written_list")]
    pub credentials: Option<Vec<At<Credential>>>,
    /// Where its own login keeps the token on your machine.
    #[serde(default, deserialize_with = "written")]
    pub login: Option<At<Login>>,
}

/// Where the text of the agent's manifest goes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Instructions {
    /// Into arguments: `{}` stands for the text.
    Arguments(Vec<At<String>>),
    /// Into this file of its home.
    File(At<String>),
}

/// Where MCP servers are registered.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mcp {
    /// The file of its home.
    pub file: At<String>,
    /// Whose format the file has.
    pub format: At<McpFormat>,
}

/// A format of MCP servers' registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum McpFormat {
    /// JSON, `mcpServers`: `type`, `command`, `args`, `env`, `url`.
    Claude,
    /// TOML, `mcp_servers`.
    Codex,
    /// JSON, `mcpServers`, with `httpUrl`.
    Gemini,
    /// JSON, `mcp`: `type: local` with `command` as a list, or `type: remote`.
    Opencode,
    /// JSON, `mcpServers`, with `tools`.
    Copilot,
}

/// A credential: the agent holds a placeholder, `egress` puts the real one in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// The variable that holds it: outside the real one, inside the placeholder.
    #[schemars(extend("pattern" = env::PATTERN))]
    pub variable: At<String>,
    /// The hosts of `routes` that it is for.
    pub hosts: Vec<At<String>>,
    /// The header; `authorization` if not given.
    #[serde(default, deserialize_with = "written")]
    pub header: Option<At<String>>,
    /// The word before the value; as in a route's `auth`.
    #[serde(default, deserialize_with = "written")]
    pub scheme: Option<At<String>>,
    /// What the agent sees in its place, of the shape that the program expects.
    pub placeholder: At<String>,
    /// Further variables of the agent that hold the placeholder.
    #[serde(default, deserialize_with = "written_list")]
    pub also: Option<Vec<At<String>>>,
    /// Where a person gets one, in a few words.
    #[serde(default, deserialize_with = "written")]
    pub obtain: Option<At<String>>,
}

/// Where a program's own login keeps the token.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The file, from `~`.
    pub file: At<String>,
    /// Where in it the token is, as a JSON pointer (RFC 6901).
    pub token: At<String>,
    /// Where in it the end of its life is: milliseconds or seconds since 1970.
    #[serde(default, deserialize_with = "written")]
    pub expires: Option<At<String>>,
    /// The variable of `credentials` that it stands for.
    pub variable: At<String>,
    /// What renews it, outside of bottles.
    #[serde(default, deserialize_with = "written")]
    pub renew: Option<At<String>>,
}
