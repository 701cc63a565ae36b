//! All agents and bottles that there are, and how a name becomes an agent in a bottle.
//!
//! Of several definitions of one name the operator's own wins, then the repository's, then the built-in one. Bottles never
//! come from a repository. A broken file is an error when it is used, and in [`Library::problems`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bottle_contract::Untrusted;

use super::front_matter::{self, Document};
use super::model::{Agent, Bottle, Origin, Provider, Resolved, WorkspaceMode};
use super::place::Base;
use super::{key, measure, raw, starter};
use crate::error::{Error, Result};
use crate::suggest;
use crate::yaml::{self, At, Problem};

/// What a manifest defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An agent.
    Agent,
    /// A bottle.
    Bottle,
}

impl Kind {
    /// The directory that its manifests are in.
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Agent => "agents",
            Self::Bottle => "bottles",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Bottle => "bottle",
        })
    }
}

/// A file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What it defines.
    pub kind: Kind,
    /// Its key.
    pub name: String,
    /// Where it is.
    pub origin: Origin,
    /// Its content, or why it cannot be read.
    pub content: Result<Vec<u8>>,
}

/// All definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    home: Option<PathBuf>,
    /// Each name's definitions, the one that counts first.
    sources: BTreeMap<(Kind, String), Vec<Source>>,
    strays: Vec<Error>,
}

impl Library {
    /// The built-in definitions and `found`; `strays` are files that cannot be definitions at all.
    pub fn new(home: Option<&Path>, found: Vec<Source>, strays: Vec<Error>) -> Self {
        let mut sources: BTreeMap<_, Vec<Source>> = BTreeMap::new();
        // A second wall behind `sources`, which never reads one.
        let own = found.into_iter().filter(|s| !(s.kind == Kind::Bottle && matches!(s.origin, Origin::Repo(_))));
        for source in own.chain(starter::sources()) {
            sources.entry((source.kind, source.name.clone())).or_default().push(source);
        }
        for definitions in sources.values_mut() {
            definitions.sort_by_key(|source| rank(&source.origin));
        }
        Self { home: home.map(Path::to_owned), sources, strays }
    }

    /// The names of one kind, in order.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &str> + Clone {
        self.sources.keys().filter(move |(k, _)| *k == kind).map(|(_, name)| name.as_str())
    }

    /// Where a name is defined: the definition that counts, then those that it hides.
    pub fn origins(&self, kind: Kind, name: &str) -> Vec<&Origin> {
        self.sources.get(&(kind, name.to_owned())).into_iter().flatten().map(|source| &source.origin).collect()
    }

    /// The agent and its bottle.
    pub fn resolve(&self, agent: &str) -> Result<Resolved> {
        let shown = Untrusted::new(agent);
        if !key::is_valid(agent) {
            return Err(Error::usage(format!("`{shown}` is not an agent's name"), key::GRAMMAR, "`bottle info` lists the agents"));
        }
        let Some(source) = self.source(Kind::Agent, agent) else {
            let hint = suggest::among(agent, self.names(Kind::Agent), "the agents are");
            return Err(Error::usage(
                format!("there is no agent `{shown}`"),
                "neither your configuration, this repository nor bottle defines it",
                hint,
            ));
        };
        let document = source.document()?;
        let raw: raw::Agent = yaml::parse(&document.yaml).map_err(|p| source.error(hint_at_bottle(p)))?;
        let read = |problem: Problem| source.error(problem);
        if document.body.len() > measure::ARGUMENT {
            return Err(read(Problem::at(1, 1, "the prompt is too long", measure::ARGUMENT_HINT)));
        }
        let bottle = self.bottle(&raw.bottle, source)?;
        let agent = Agent {
            name: agent.to_owned(),
            description: raw.description.as_ref().map_or(Ok(String::new()), description).map_err(read)?,
            provider: program(&raw).map_err(read)?,
            workspace: raw.workspace.as_ref().map(|mode| workspace(mode, &source.origin, &bottle)).transpose().map_err(read)?,
            prompt: document.body,
            origin: source.origin.clone(),
        };
        Ok(Resolved { agent, bottle })
    }

    /// Every file that cannot be used, whoever needs it.
    pub fn problems(&self) -> Vec<Error> {
        let mut problems = self.strays.clone();
        let bottles = self.names(Kind::Bottle).filter_map(|name| self.resolve_bottle(name).err());
        let agents = self.names(Kind::Agent).filter_map(|name| self.resolve(name).err());
        for problem in bottles.chain(agents) {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        problems
    }

    /// A bottle by its name, whoever asks.
    fn resolve_bottle(&self, name: &str) -> Result<Bottle> {
        let Some(source) = self.source(Kind::Bottle, name) else {
            let hint = suggest::among(name, self.names(Kind::Bottle), "the bottles are");
            return Err(Error::usage(
                format!("there is no bottle `{}`", Untrusted::new(name)),
                "your configuration does not define it",
                hint,
            ));
        };
        let own = At { value: name.to_owned(), line: 1, column: 1 };
        self.bottle(&own, source)
    }

    /// Follows `extends` from the bottle that `asked_by` names to the last parent, then takes over what each says, the
    /// last parent first.
    fn bottle(&self, asked: &At<String>, asked_by: &Source) -> Result<Bottle> {
        let mut manifests = Vec::new();
        let mut chain: Vec<String> = Vec::new();
        let mut origin = Origin::BuiltIn;
        let (mut next, mut by) = (asked.clone(), asked_by);
        loop {
            if chain.contains(&next.value) {
                chain.push(next.value.clone());
                let what = format!("`extends` goes in a circle: {}", chain.join(" → "));
                return Err(by.error(next.problem(what, "remove one `extends` of them")));
            }
            let Some(source) = self.source(Kind::Bottle, &next.value) else {
                let hint = suggest::among(&next.value, self.names(Kind::Bottle), "the bottles are");
                return Err(by.error(next.problem(format!("there is no bottle `{}`", Untrusted::new(&next.value)), hint)));
            };
            let raw: raw::Bottle = yaml::parse(&source.document()?.yaml).map_err(|p| source.error(p))?;
            if chain.is_empty() {
                origin = source.origin.clone();
            }
            chain.push(next.value);
            let parent = raw.extends.clone();
            manifests.push((raw, source));
            match parent {
                Some(parent) => (next, by) = (parent, source),
                None => break,
            }
        }
        let mut bottle = Bottle::closed(asked.value.clone(), origin);
        for (raw, source) in manifests.iter().rev() {
            let base = Base { home: self.home.as_deref(), directory: source.path().and_then(Path::parent) };
            bottle.take(raw, base).map_err(|problem| source.error(problem))?;
        }
        Ok(bottle)
    }

    fn source(&self, kind: Kind, name: &str) -> Option<&Source> {
        self.sources.get(&(kind, name.to_owned()))?.first()
    }
}

impl Source {
    fn path(&self) -> Option<&Path> {
        match &self.origin {
            Origin::BuiltIn => None,
            Origin::Home(path) | Origin::Repo(path) => Some(path),
        }
    }

    fn document(&self) -> Result<Document> {
        front_matter::split(self.content.as_ref().map_err(Clone::clone)?).map_err(|problem| self.error(problem))
    }

    /// The problem as an error that names the file.
    fn error(&self, problem: Problem) -> Error {
        let place = shown(&self.origin);
        Error::usage(
            format!("{} `{}` cannot be used", self.kind, Untrusted::new(&self.name)),
            format!("{place}:{}:{}: {}", problem.line, problem.column, problem.what),
            problem.hint,
        )
    }
}

/// An origin for a message.
pub fn shown(origin: &Origin) -> String {
    match origin {
        Origin::BuiltIn => "built-in".to_owned(),
        Origin::Home(path) | Origin::Repo(path) => Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string(),
    }
}

fn rank(origin: &Origin) -> u8 {
    match origin {
        Origin::Home(_) => 0,
        Origin::Repo(_) => 1,
        Origin::BuiltIn => 2,
    }
}

/// A key that a bottle would have gets a better hint than the nearest agent's key.
fn hint_at_bottle(problem: Problem) -> Problem {
    const BOTTLE_KEYS: [&str; 9] = ["extends", "env", "egress", "git", "supervise", "limits", "rootfs", "tools", "routes"];
    match &problem.unknown_key {
        Some(key) if BOTTLE_KEYS.contains(&key.as_str()) => {
            let hint = format!("`{key}` belongs in a bottle of your own configuration, which the agent names with `bottle:`");
            Problem { hint, ..problem }
        }
        _ => problem,
    }
}

fn description(text: &At<String>) -> std::result::Result<String, Problem> {
    let line = text.value.trim();
    if line.chars().any(char::is_control) {
        return Err(text.problem("the description is not one line of text", "move the rest below the front matter"));
    }
    Ok(line.to_owned())
}

const PROGRAM_HINT: &str = "write `provider: claude`, `provider: shell` or `command: [program, argument]`";

/// Exactly one of the two keys names the program.
fn program(raw: &raw::Agent) -> std::result::Result<Provider, Problem> {
    match (&raw.provider, &raw.command) {
        (Some(provider), None) => match provider.value {
            raw::Provider::Claude => Ok(Provider::Claude),
            raw::Provider::Shell => Ok(Provider::Shell),
        },
        (None, Some(command)) => self::command(command),
        (Some(_), Some(command)) => Err(command.problem("both `provider` and `command` name a program", "keep one of them")),
        (None, None) => Err(raw.bottle.problem("the agent names no program", PROGRAM_HINT)),
    }
}

fn command(raw: &At<Vec<At<String>>>) -> std::result::Result<Provider, Problem> {
    let words = &raw.value;
    if words.first().is_none_or(|program| program.value.is_empty()) {
        return Err(raw.problem("`command` names no program", "write `command: [program, argument]`"));
    }
    if let Some(word) = words.iter().find(|word| word.value.contains('\0')) {
        return Err(word.problem("a NUL in an argument", "no program can be given one"));
    }
    if let Some(word) = words.iter().find(|word| word.value.len() > measure::ARGUMENT) {
        return Err(word.problem("an argument is too long", measure::ARGUMENT_HINT));
    }
    Ok(Provider::Command(words.iter().map(|word| word.value.clone()).collect()))
}

/// A repository's agent may see less of the working directory than the bottle shows, not more.
fn workspace(raw: &At<raw::Workspace>, origin: &Origin, bottle: &Bottle) -> std::result::Result<WorkspaceMode, Problem> {
    let mode = WorkspaceMode::from(raw.value);
    if matches!(origin, Origin::Repo(_)) && width(mode) > width(bottle.workspace) {
        return Err(raw.problem(
            format!("a repository's agent may not widen the workspace that the bottle `{}` gives", bottle.name),
            "remove the key, or define the agent in your own configuration",
        ));
    }
    Ok(mode)
}

fn width(mode: WorkspaceMode) -> u8 {
    match mode {
        WorkspaceMode::None => 0,
        WorkspaceMode::Overlay | WorkspaceMode::Copy => 1,
        WorkspaceMode::Mount => 2,
    }
}
