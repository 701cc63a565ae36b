//! The keys of a manifest as they are written. The JSON Schemas are generated from these types.
//!
//! Nothing here is optional by accident: a key that is written needs a value, but for lists and mappings, where a key
//! whose entries were all commented out means the empty collection. That is never more than the missing key would give.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::{env, key, measure};
use crate::yaml::{At, written, written_list};

/// An agent: the program that runs in a bottle. The Markdown below the front matter is its system prompt.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "bottle: agent")]
pub struct Agent {
    /// The bottle that it runs in.
    #[schemars(extend("pattern" = key::PATTERN))]
    pub bottle: At<String>,
    /// Which program it is, one that bottle knows how to start: `claude` or `shell`.
    #[serde(default, deserialize_with = "written")]
    pub provider: Option<At<Provider>>,
    /// Any other program: its name or path, then its arguments.
    #[serde(default, deserialize_with = "written")]
    pub command: Option<At<Vec<At<String>>>>,
    /// One line for `bottle info`.
    #[serde(default, deserialize_with = "written")]
    pub description: Option<At<String>>,
    /// How it sees the working directory, if not as the bottle says.
    #[serde(default, deserialize_with = "written")]
    pub workspace: Option<At<Workspace>>,
}

/// Which program an agent is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Claude Code.
    Claude,
    /// An interactive shell.
    Shell,
}

/// How the agent sees the working directory.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Workspace {
    /// Copy on write; the host's tree stays as it is.
    Overlay,
    /// A full copy.
    Copy,
    /// The tree itself, writable.
    Mount,
    /// An empty directory.
    None,
}

/// A bottle: the wall around an agent. Read only from the home configuration, never from a repository.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "bottle: bottle")]
pub struct Bottle {
    /// A bottle to start from: `env`, `egress`, `scan` and `limits` merge key by key, every other key replaces the parent's. Lists
    /// replace, as a whole.
    #[serde(default, deserialize_with = "written")]
    #[schemars(extend("pattern" = key::PATTERN))]
    pub extends: Option<At<String>>,
    /// The agent's variables. A value is a text, may hold `${NAME}` to be filled in from the host (`$$` is a dollar sign),
    /// or is `?prompt`: asked for at start, without echo. The agent sees every one of them; credentials that it need not
    /// see belong in a route's `auth`.
    #[serde(default, deserialize_with = "written_list")]
    #[schemars(extend("propertyNames" = { "pattern": env::PATTERN }))]
    pub env: Option<BTreeMap<String, At<String>>>,
    /// What the agent may reach. Without it: nothing.
    #[serde(default, deserialize_with = "written_egress")]
    pub egress: Option<Egress>,
    /// Repositories that the agent may fetch from and push to, through a gate that scans.
    #[serde(default, deserialize_with = "written_list")]
    pub git: Option<Git>,
    /// True when the agent may ask, and a person decides.
    #[serde(default, deserialize_with = "written")]
    pub supervise: Option<At<bool>>,
    /// How what leaves and what comes back is scanned, beyond what always is.
    #[serde(default, deserialize_with = "written_list")]
    pub scan: Option<Scan>,
    /// Bounds.
    #[serde(default, deserialize_with = "written_list")]
    pub limits: Option<Limits>,
    /// What the root file system is made of: `host` (a read-only view of the host's tools) or `{ image: path }`.
    #[serde(default, deserialize_with = "written")]
    pub rootfs: Option<At<Rootfs>>,
    /// Further directories of the host that the agent sees, read-only, at the same path.
    #[serde(default, deserialize_with = "written_list")]
    pub tools: Option<Vec<At<String>>>,
    /// How the agent sees the working directory; `overlay` if nothing says otherwise.
    #[serde(default, deserialize_with = "written")]
    pub workspace: Option<At<Workspace>>,
    /// What makes the bottle, unless `--backend` or `BOTTLE_BACKEND` says otherwise; `embedded` if nothing does.
    #[serde(default, deserialize_with = "written")]
    pub backend: Option<At<Backend>>,
}

/// What makes the bottle.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Namespaces, without a daemon.
    Embedded,
    /// Docker, by docker compose.
    Compose,
}

/// What the agent may reach.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// The hosts. What no route names is refused.
    #[serde(default, deserialize_with = "written_list")]
    pub routes: Option<Vec<At<Route>>>,
    /// PEM files with further roots for origins.
    #[serde(default, deserialize_with = "written_list")]
    pub trust: Option<Vec<At<String>>>,
    /// A proxy that everything goes through.
    #[serde(default, deserialize_with = "written")]
    pub proxy: Option<Proxy>,
}

/// A host and what may be asked there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// `name`, `*.suffix` (quoted: YAML reads a star as an alias) or an address, with `:port`; ports 443 and 80 without one.
    pub host: At<String>,
    /// What may be asked. Without it: everything.
    #[serde(default, deserialize_with = "written_list")]
    #[schemars(length(min = 1))]
    pub matches: Option<Vec<At<Match>>>,
    /// The credential that the proxy puts in; the agent never sees it.
    #[serde(default, deserialize_with = "written")]
    pub auth: Option<Auth>,
    /// `address:port` to dial for this host, instead of what its name resolves to.
    #[serde(default, deserialize_with = "written")]
    pub connect: Option<At<String>>,
}

/// Methods and paths; a request must fit both.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Method names, upper case. Without it: every method.
    #[serde(default, deserialize_with = "written_list")]
    #[schemars(length(min = 1))]
    pub methods: Option<Vec<At<String>>>,
    /// Paths. One that ends with `/` names all below it, any other only itself. Without it: every path.
    #[serde(default, deserialize_with = "written_list")]
    #[schemars(length(min = 1))]
    pub paths: Option<Vec<At<String>>>,
}

/// A credential, by name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The header; `authorization` if not given.
    #[serde(default, deserialize_with = "written")]
    pub header: Option<At<String>>,
    /// The word before the value: `Bearer`, `token`, `Basic` (the value is `user:password`), or `none`. If not given:
    /// `Bearer` for `authorization`, none for any other header.
    #[serde(default, deserialize_with = "written")]
    pub scheme: Option<At<String>>,
    /// The name of the host's environment variable that holds the value. Never the value itself.
    #[schemars(extend("pattern" = env::PATTERN))]
    pub token_ref: At<String>,
}

/// A proxy that everything goes through.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// `address:port`.
    pub address: At<String>,
    /// PEM file with the authority that it signs with, if it intercepts.
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
    /// Whom the agent's commits name. Without it: `agent`.
    #[serde(default, deserialize_with = "written")]
    pub author: Option<Author>,
}

/// Whom commits name.
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
    /// The credential for an upstream over HTTPS; the agent never sees it.
    #[serde(default, deserialize_with = "written")]
    pub auth: Option<Auth>,
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
    /// Refs, in full; one star stands for any text: `refs/heads/agent/*`.
    #[serde(default, deserialize_with = "written_list")]
    pub allow: Option<Vec<At<String>>>,
    /// Refs that upstream does not have yet; true if not given.
    #[serde(default = "yes")]
    pub create: bool,
    /// Fast-forwards of refs that upstream has; true if not given.
    #[serde(default = "yes")]
    pub update: bool,
    /// Updates that are no fast-forward, and of tags.
    #[serde(default)]
    pub force: bool,
    /// Deletions.
    #[serde(default)]
    pub delete: bool,
    /// Push options, which some servers act on.
    #[serde(default)]
    pub options: bool,
    /// Commits and tags that name another than `git.author` as the one who made them.
    #[serde(default)]
    pub other_committers: bool,
    /// The largest pack of one push, as in `500MiB`; 2 GiB if not given.
    #[serde(default, deserialize_with = "written")]
    #[schemars(extend("pattern" = measure::SIZE))]
    pub size: Option<At<String>>,
    /// The most objects of one push; a million if not given.
    #[serde(default, deserialize_with = "written")]
    #[schemars(range(min = 1))]
    pub objects: Option<At<u64>>,
}

fn yes() -> bool {
    true
}

impl Default for Push {
    /// `push:` with nothing below it allows nothing.
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

/// Scanning beyond what always is done.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// Files of rules in gitleaks' format, beside the built-in rules: what they find is refused too.
    #[serde(default, deserialize_with = "written_list")]
    pub rules: Option<Vec<At<String>>>,
    /// True when answers are searched for text that tries to instruct the agent. What is found is recorded, never refused.
    #[serde(default, deserialize_with = "written")]
    pub answers: Option<At<bool>>,
}

/// Bounds.
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
    /// Wall-clock time after which the agent is ended, as in `2h` or `1h30m`.
    #[serde(default, deserialize_with = "written")]
    #[schemars(extend("pattern" = measure::DURATION))]
    pub time: Option<At<String>>,
}

/// What the root file system is made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rootfs {
    /// A read-only view of the host's tools.
    Host,
    /// An OCI image archive.
    Image(At<String>),
}

/// `egress:` that says nothing denies everything, also where a parent allows something.
fn written_egress<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Egress>, D::Error> {
    let written = Option::<Egress>::deserialize(deserializer)?;
    let says_something = |egress: &Egress| egress.routes.is_some() || egress.trust.is_some() || egress.proxy.is_some();
    Ok(Some(written.filter(says_something).unwrap_or(Egress { routes: Some(Vec::new()), trust: None, proxy: None })))
}
