//! The keys of a manifest. The JSON Schemas are generated from these types.
//!
//! A key that is present needs a value. The exception are lists and mappings: without entries (all commented out) they are empty,
//! which never allows more than the missing key.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

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

/// Directories of the host, or the word `none`.
#[derive(Debug)]
pub enum Tools {
    /// Nothing of the home directory, and no further directories.
    None,
    /// Directories.
    List(Vec<At<String>>),
    /// Something else, which is refused where its place is known.
    Unknown,
}

impl JsonSchema for Tools {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Tools".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let list = generator.subschema_for::<Vec<String>>();
        schemars::json_schema!({ "oneOf": [{ "const": "none" }, list] })
    }
}

impl<'de> Deserialize<'de> for Tools {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Tools;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of directories, or the word none")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Tools, E> {
                Ok(if word == "none" { Tools::None } else { Tools::Unknown })
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Tools, E> {
                Ok(Tools::List(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tools, A::Error> {
                let mut directories = Vec::new();
                while let Some(directory) = list.next_element()? {
                    directories.push(directory);
                }
                Ok(Tools::List(directories))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// How a person is asked: true, false, or a mapping.
#[derive(Debug)]
pub enum Supervise {
    /// With the defaults, or not at all.
    On(bool),
    /// As this says.
    As(SuperviseKeys),
    /// Something else, which is refused where its place is known.
    Unknown,
}

/// The keys of `supervise`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuperviseKeys {
    /// What becomes of questions when no person is at a terminal: `deny` (the default), or `queue`, until `bottle answer`.
    #[serde(default, deserialize_with = "written")]
    pub unattended: Option<At<Unattended>>,
    /// How long a request is held while a person is asked, at most 55s; 45s by default.
    #[serde(default, deserialize_with = "written")]
    #[schemars(extend("pattern" = measure::DURATION))]
    pub hold: Option<At<String>>,
    /// A file of signers (ssh-keygen(1), ALLOWED SIGNERS). With it, a grant needs a signature of one of them; a denial never does.
    #[serde(default, deserialize_with = "written")]
    pub signers: Option<At<String>>,
}

/// What becomes of questions that nobody attends.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unattended {
    /// They are refused.
    Deny,
    /// They wait.
    Queue,
}

impl JsonSchema for Supervise {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Supervise".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let keys = generator.subschema_for::<SuperviseKeys>();
        schemars::json_schema!({ "oneOf": [{ "type": "boolean" }, keys] })
    }
}

impl<'de> Deserialize<'de> for Supervise {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Supervise;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a mapping")
            }

            fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<Supervise, E> {
                Ok(Supervise::On(on))
            }

            fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Supervise, E> {
                Ok(Supervise::Unknown)
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Supervise, E> {
                Ok(Supervise::Unknown)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Supervise, A::Error> {
                SuperviseKeys::deserialize(MapAccessDeserializer::new(map)).map(Supervise::As)
            }
        }

        deserializer.deserialize_any(Either)
    }
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

/// The network access of an agent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// Lists of hosts by name: `agent` (what the agent's own program needs), `npm`, `pypi`, `crates`, `go`, `maven`, `rubygems`, `github`,
    /// `gitlab`, `debian`, `huggingface`.
    #[serde(default, deserialize_with = "written_list")]
    pub presets: Option<Vec<At<String>>>,
    /// The hosts. What no route names is refused. They add to the parent's; one of the same host replaces it. Written empty: nothing.
    #[serde(default, deserialize_with = "written_list")]
    pub routes: Option<Vec<At<Route>>>,
    /// What becomes of a request that no route allows: `deny`, the default, or `ask` a person (see `supervise`).
    #[serde(default, deserialize_with = "written")]
    pub default: Option<At<EgressDefault>>,
    /// True when nothing of the parent's routes and presets counts.
    #[serde(default, deserialize_with = "written")]
    pub replace: Option<At<bool>>,
    /// PEM files with further roots for origins.
    #[serde(default, deserialize_with = "written_list")]
    pub trust: Option<Vec<At<String>>>,
    /// A proxy for all requests.
    #[serde(default, deserialize_with = "written")]
    pub proxy: Option<Proxy>,
}

/// What becomes of a request that no route allows.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EgressDefault {
    /// It is refused.
    Deny,
    /// A person is asked.
    Ask,
}

/// A host, with its allowed methods and paths.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// `name`, `*.suffix` (quoted: YAML reads a star as an alias) or an address, with `:port`; ports 443 and 80 without one.
    pub host: At<String>,
    /// Allowed methods and paths. Without it: all.
    #[serde(default, deserialize_with = "written_list")]
    #[schemars(length(min = 1))]
    pub matches: Option<Vec<At<Match>>>,
    /// The credential that the proxy injects. The agent never sees it.
    #[serde(default, deserialize_with = "written")]
    pub auth: Option<At<Auth>>,
    /// `address:port` to dial for this host, instead of what its name resolves to.
    #[serde(default, deserialize_with = "written")]
    pub connect: Option<At<String>>,
    /// What happens when the body of a request holds a secret: `refuse` the request, or `redact` the secret, which then is replaced by a
    /// placeholder of its length if it stands whole in one string of JSON. Without it: `redact` for the conversations of known models' APIs,
    /// else `refuse`.
    #[serde(default, deserialize_with = "written")]
    pub on_secret: Option<At<OnSecret>>,
    /// True if a person is asked about what `matches` does not allow (see `supervise`). Without `matches`, nothing is allowed unasked.
    #[serde(default, deserialize_with = "written")]
    pub ask: Option<At<bool>>,
}

/// What happens to a secret in the body of a request.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnSecret {
    /// The request is refused.
    Refuse,
    /// The secret is replaced by a placeholder, or else the request is refused.
    Redact,
}

/// Methods and paths; a request must fit both.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Method names, upper case. Without it: every method.
    #[serde(default, deserialize_with = "written_list")]
    #[schemars(length(min = 1))]
    pub methods: Option<Vec<At<String>>>,
    /// Paths. One that ends with `/` includes all paths below it. Without it: every path.
    #[serde(default, deserialize_with = "written_list")]
    #[schemars(length(min = 1))]
    pub paths: Option<Vec<At<String>>>,
}

/// A credential, by name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The header; `authorization` by default.
    #[serde(default, deserialize_with = "written")]
    pub header: Option<At<String>>,
    /// The scheme before the value: `Bearer`, `token`, `Basic` (the value is `user:password`), or `none`. By default `Bearer` for
    /// `authorization`, and none for any other header.
    #[serde(default, deserialize_with = "written")]
    pub scheme: Option<At<String>>,
    /// The name of the host's environment variable that holds the value. Never the value itself.
    #[serde(default, deserialize_with = "written")]
    #[schemars(extend("pattern" = env::PATTERN))]
    pub token_ref: Option<At<String>>,
    /// A file with the value, instead: the token alone, or `{"token": "…", "expires_at": "…"}`.
    #[serde(default, deserialize_with = "written")]
    pub token_file: Option<At<String>>,
    /// A program that prints the value, instead, in the same form. It runs outside of the bottle, without a terminal, for 30 seconds at most.
    #[serde(default, deserialize_with = "written")]
    pub token_command: Option<At<Vec<At<String>>>>,
    /// The provider whose login on this machine is used, instead: `claude`.
    #[serde(default, deserialize_with = "written")]
    pub login: Option<At<String>>,
}

/// A proxy for all requests.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// `address:port`.
    pub address: At<String>,
    /// PEM file with its signing authority, if it intercepts.
    #[serde(default, deserialize_with = "written")]
    pub ca: Option<At<String>>,
}

/// Repositories behind the gate.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Git {
    /// The repositories.
    #[serde(default, deserialize_with = "written_list")]
    pub repos: Option<Vec<At<Repo>>>,
    /// The identity of the agent's commits; `agent` by default.
    #[serde(default, deserialize_with = "written")]
    pub author: Option<Author>,
}

/// The identity of commits.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Author {
    /// A name.
    pub name: At<String>,
    /// An address.
    pub email: At<String>,
}

/// A repository behind the gate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repo {
    /// Its name at the gate.
    pub name: At<String>,
    /// `ssh://user@host/path` or `https://host/path`.
    pub upstream: At<String>,
    /// The private key for SSH.
    #[serde(default, deserialize_with = "written")]
    pub identity: Option<At<String>>,
    /// The upstream's SSH host key, `algorithm base64`. Required for SSH: nothing is trusted on first use.
    #[serde(default, deserialize_with = "written")]
    pub host_key: Option<At<String>>,
    /// The credential for an upstream over HTTPS. The agent never sees it.
    #[serde(default, deserialize_with = "written")]
    pub auth: Option<At<Auth>>,
    /// `address:port` to dial for this upstream, instead of what its name resolves to.
    #[serde(default, deserialize_with = "written")]
    pub connect: Option<At<String>>,
    /// What may be pushed. Without it: nothing.
    #[serde(default, deserialize_with = "written_list")]
    pub push: Option<Push>,
}

/// What may be pushed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// Full ref names; a star matches any text: `refs/heads/agent/*`.
    #[serde(default, deserialize_with = "written_list")]
    pub allow: Option<Vec<At<String>>>,
    /// Allow new refs; true by default.
    #[serde(default = "yes")]
    pub create: bool,
    /// Allow fast-forwards; true by default.
    #[serde(default = "yes")]
    pub update: bool,
    /// Allow other updates, and updates of tags.
    #[serde(default)]
    pub force: bool,
    /// Allow deletions.
    #[serde(default)]
    pub delete: bool,
    /// Allow push options, which some servers act on.
    #[serde(default)]
    pub options: bool,
    /// Allow commits and tags of other committers than `git.author`.
    #[serde(default)]
    pub other_committers: bool,
    /// The largest pack of one push, as in `500MiB`; 2 GiB by default.
    #[serde(default, deserialize_with = "written")]
    #[schemars(extend("pattern" = measure::SIZE))]
    pub size: Option<At<String>>,
    /// The most objects of one push; a million by default.
    #[serde(default, deserialize_with = "written")]
    #[schemars(range(min = 1))]
    pub objects: Option<At<u64>>,
}

fn yes() -> bool {
    true
}

impl Default for Push {
    /// An empty `push:` allows nothing.
    fn default() -> Self {
        Self {
            allow: None,
            create: true,
            update: true,
            force: false,
            delete: false,
            options: false,
            other_committers: false,
            size: None,
            objects: None,
        }
    }
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

/// An empty `egress:` denies everything, even if a parent allows something.
fn written_egress<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Egress>, D::Error> {
    let written = Option::<Egress>::deserialize(deserializer)?;
    let says_something = |egress: &Egress| {
        let Egress { presets, routes, default, replace, trust, proxy } = egress;
        let has_reach = presets.is_some() || routes.is_some() || default.is_some();
        has_reach || replace.is_some() || trust.is_some() || proxy.is_some()
    };
    let nothing = Egress { presets: None, routes: Some(Vec::new()), default: None, replace: None, trust: None, proxy: None };
    Ok(Some(written.filter(says_something).unwrap_or(nothing)))
}
