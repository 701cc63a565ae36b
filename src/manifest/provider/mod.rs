//! Providers: how an agent's program is found, started and set up, as data. Each built-in one is a file of the same shape as a person's.

mod checked;
pub mod keys;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use super::model::{Auth, Origin, Route};
pub(super) use checked::in_home;
pub use checked::read;
pub use keys::McpFormat;

/// A program that bottle knows how to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its key: the file's name.
    pub name: String,
    /// The name that people call it by.
    pub title: String,
    /// The program.
    pub program: String,
    /// How to install it.
    pub install: Option<String>,
    /// Arguments at a terminal.
    pub interactive: Vec<Argument>,
    /// Arguments without a person; none if the program always needs one.
    pub headless: Option<Vec<Argument>>,
    /// How it is given a task.
    pub prompt: Vec<String>,
    /// The same without a person.
    pub headless_prompt: Vec<String>,
    /// How it prints events as they come.
    pub stream: Vec<String>,
    /// How it goes on with its last conversation.
    pub resume: Vec<String>,
    /// How it is given a model.
    pub model: Vec<String>,
    /// Where the manifest's text goes.
    pub instructions: Instructions,
    /// Where MCP servers are registered.
    pub mcp: Option<Mcp>,
    /// The directory of its home where skills go.
    pub skills: Option<PathBuf>,
    /// Its variables.
    pub env: BTreeMap<String, String>,
    /// Files of its home.
    pub files: BTreeMap<PathBuf, String>,
    /// Files of the person's home that may be copied.
    pub home: Vec<PathBuf>,
    /// The hosts that it needs.
    pub routes: Vec<Route>,
    /// Its credentials, the preferred one first.
    pub credentials: Vec<Credential>,
    /// Where its own login keeps the token.
    pub login: Option<Login>,
    /// Where it was defined.
    pub origin: Origin,
}

/// Shown by its name.
impl Serialize for Provider {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

/// One item of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// As it stands.
    Text(String),
    /// Arguments that the start decides, none or several.
    Slot(Slot),
}

/// What a start decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The model.
    Model,
    /// The manifest's text.
    Instructions,
    /// The last conversation.
    Resume,
    /// Events as they come.
    Stream,
    /// What follows `--`.
    Arguments,
    /// The task.
    Prompt,
}

impl Slot {
    /// All of them, by the name that stands in braces.
    pub const NAMES: [(&str, Self); 6] = [
        ("model", Self::Model),
        ("instructions", Self::Instructions),
        ("resume", Self::Resume),
        ("stream", Self::Stream),
        ("arguments", Self::Arguments),
        ("prompt", Self::Prompt),
    ];
}

/// Where the text of the agent's manifest goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// Into a file that a variable names.
    Variable,
    /// Into arguments.
    Arguments(Vec<String>),
    /// Into this file of its home.
    File(PathBuf),
}

/// Where MCP servers are registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mcp {
    /// The file of its home.
    pub file: PathBuf,
    /// Its format.
    pub format: McpFormat,
}

/// A credential of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// What a route with it says.
    pub auth: Auth,
    /// The hosts that it is for.
    pub hosts: Vec<bottle_contract::HostPattern>,
    /// What the agent sees.
    pub placeholder: String,
    /// Further variables that hold it.
    pub also: Vec<String>,
    /// Where a person gets one.
    pub obtain: Option<String>,
}

impl Credential {
    /// The variable that holds it.
    pub fn variable(&self) -> &str {
        &self.auth.token_ref
    }

    /// True if a route puts this kind of credential in.
    pub fn fits(&self, route: &Route) -> bool {
        let same_place = |auth: &Auth| auth.header == self.auth.header && auth.scheme == self.auth.scheme;
        self.hosts.contains(&route.host) && route.auth.as_ref().is_some_and(same_place)
    }
}

/// Where a program's own login keeps the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The file, relative to the person's home.
    pub file: PathBuf,
    /// Where in it the token is.
    pub token: String,
    /// Where in it the end of its life is.
    pub expires: Option<String>,
    /// The credential that it stands for.
    pub variable: String,
    /// What renews it.
    pub renew: Option<String>,
}
