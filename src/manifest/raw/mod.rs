//! The keys of a manifest. The JSON Schemas are generated from these types.
//!
//! A key that is present needs a value. The exception are lists and mappings: without entries (all commented out) they are empty,
//! which never allows more than the missing key.

mod git_keys;
mod network_keys;
mod supervise_keys;
mod tools_key;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::git_keys::{Author, Git, Push, Repo};
use self::network_keys::written_egress;
pub use self::network_keys::{Auth, Egress, EgressDefault, Match, OnSecret, Proxy, Route};
pub use self::supervise_keys::{Supervise, SuperviseKeys, Unattended};
pub use self::tools_key::Tools;
use super::{env, key, measure};
use crate::yaml::{At, written, written_list};

/// An agent: the program that runs in a bottle. The Markdown below the front matter is its system prompt.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "bottle: agent")]
pub struct Agent {
    /// The bottle in which it runs.
    #[schemars(extend("pattern" = key::PATTERN))]
    pub bottle: At<String>,
    /// Which program it is, one that bottle knows how to start: `aider`, `claude`, `codex`, `copilot`, `gemini`, `opencode`, `shell`, or
    /// one of your own `providers`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(extend("pattern" = key::PATTERN))]
    pub provider: Option<At<String>>,
    /// Any other program: its name or path, then its arguments.
    #[serde(default, deserialize_with = "written")]
    pub command: Option<At<Vec<At<String>>>>,
    /// One line for `bottle info`.
    #[serde(default, deserialize_with = "written")]
    pub description: Option<At<String>>,
    /// The model that it is started with, by the name that its program knows.
    #[serde(default, deserialize_with = "written")]
    pub model: Option<At<String>>,
    /// Files of your home that it gets copies of. Not in a repository's agent.
    #[serde(default, deserialize_with = "written")]
    pub home: Option<At<Home>>,
    /// Directories of skills that it gets copies of. Not in a repository's agent.
    #[serde(default, deserialize_with = "written")]
    pub skills: Option<At<Vec<At<String>>>>,
    /// MCP servers, by name, registered with its program.
    #[serde(default, deserialize_with = "written_list")]
    pub mcp: Option<BTreeMap<String, At<McpServer>>>,
    /// How it sees the working directory, if not as the bottle says.
    #[serde(default, deserialize_with = "written")]
    pub workspace: Option<At<Workspace>>,
}

/// Files of your home that an agent gets copies of.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Home {
    /// True for those that the agent's provider lists: your instructions, commands and skills.
    #[serde(default, deserialize_with = "written")]
    pub defaults: Option<At<bool>>,
    /// By the path in the agent's home: a file or directory of yours. A credential in it is refused.
    #[serde(default, deserialize_with = "written_list")]
    pub files: Option<BTreeMap<String, At<String>>>,
}

/// An MCP server: a program inside the bottle, or a service that a route allows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct McpServer {
    /// The program, then its arguments.
    #[serde(default, deserialize_with = "written")]
    pub command: Option<At<Vec<At<String>>>>,
    /// Its variables. Plain text, and no credential: the agent sees it.
    #[serde(default, deserialize_with = "written_list")]
    pub env: Option<BTreeMap<String, At<String>>>,
    /// The address of a service.
    #[serde(default, deserialize_with = "written")]
    pub url: Option<At<String>>,
}

/// The agent's view of the working directory.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Workspace {
    /// Copy on write; the host's tree does not change.
    Overlay,
    /// A full copy.
    Copy,
    /// The tree itself, writable.
    Mount,
    /// An empty directory.
    None,
}

/// A bottle: the isolation around an agent. It is only read from the home configuration, never from a repository.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "bottle: bottle")]
pub struct Bottle {
    /// A bottle to start from: `env`, `egress`, `scan` and `limits` merge key by key, routes add to the parent's, every other key and list
    /// replaces the parent's as a whole.
    #[serde(default, deserialize_with = "written")]
    #[schemars(extend("pattern" = key::PATTERN))]
    pub extends: Option<At<String>>,
    /// The agent's variables. A value is text, in which `${NAME}` is replaced by a variable of the host (`$$` is a dollar sign), or
    /// `?prompt`: read at start, without echo. The agent sees all of them, so put credentials in a route's `auth`.
    #[serde(default, deserialize_with = "written_list")]
    #[schemars(extend("propertyNames" = { "pattern": env::PATTERN }))]
    pub env: Option<BTreeMap<String, At<String>>>,
    /// The agent's network access. Without it: none.
    #[serde(default, deserialize_with = "written_egress")]
    pub egress: Option<Egress>,
    /// Repositories that the agent may fetch from and push to, through a gate that scans.
    #[serde(default, deserialize_with = "written_list")]
    pub git: Option<Git>,
    /// True if a person may be asked for what the manifest does not allow: the agent proposes, or a request waits. Or how they are asked.
    #[serde(default, deserialize_with = "written")]
    pub supervise: Option<At<Supervise>>,
    /// Scanning beyond the default.
    #[serde(default, deserialize_with = "written_list")]
    pub scan: Option<Scan>,
    /// Limits.
    #[serde(default, deserialize_with = "written_list")]
    pub limits: Option<Limits>,
    /// The source of the root file system: `host` (a read-only view of the host's tools) or `{ image: path }`.
    #[serde(default, deserialize_with = "written")]
    pub rootfs: Option<At<Rootfs>>,
    /// Further directories of the host that the agent sees, read-only, at the same path. The programs and toolchains that your `PATH` leads
    /// to (nvm, rustup, pipx, pyenv and others) are found and shown without it; `none` turns that off.
    #[serde(default, deserialize_with = "written")]
    pub tools: Option<At<Tools>>,
    /// How the agent sees the working directory; `overlay` if nothing says otherwise.
    #[serde(default, deserialize_with = "written")]
    pub workspace: Option<At<Workspace>>,
    /// The backend, unless `--backend` or `BOTTLE_BACKEND` is set; `embedded` by default.
    #[serde(default, deserialize_with = "written")]
    pub backend: Option<At<Backend>>,
}

/// What makes the bottle.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Namespaces, without a daemon.
    Embedded,
    /// Docker, through docker compose.
    Compose,
}

/// Scanning beyond the default.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// Files of rules in gitleaks' format, besides the built-in rules. Their findings are refused too.
    #[serde(default, deserialize_with = "written_list")]
    pub rules: Option<Vec<At<String>>>,
    /// True to scan responses for text that tries to instruct the agent. Findings are recorded, never refused.
    #[serde(default, deserialize_with = "written")]
    pub answers: Option<At<bool>>,
    /// Values that are no secrets, each by the SHA-256 that `bottle explain` shows: test keys of your own. They add to the parent's, and never
    /// excuse a token of the bottle's.
    #[serde(default, deserialize_with = "written_list")]
    pub allow: Option<Vec<At<String>>>,
}

/// Limits.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory, as in `4GiB`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(extend("pattern" = measure::SIZE))]
    pub memory: Option<At<String>>,
    /// Each of the file systems in memory that hold the home directory and temporary files, as in `20GiB`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(extend("pattern" = measure::SIZE))]
    pub scratch: Option<At<String>>,
    /// Processes and threads.
    #[serde(default, deserialize_with = "written")]
    #[schemars(range(min = 1))]
    pub pids: Option<At<u64>>,
    /// Wall-clock time after which the agent is stopped, as in `2h` or `1h30m`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(extend("pattern" = measure::DURATION))]
    pub time: Option<At<String>>,
}

/// The source of the root file system.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rootfs {
    /// A read-only view of the host's tools.
    Host,
    /// An OCI image archive.
    Image(At<String>),
}
