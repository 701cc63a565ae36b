//! All agents and bottles, and the resolution of a name to an agent in a bottle.
//!
//! The operator's own definition of a name wins over the repository's, and that over the built-in one. Bottles never come
//! from a repository. A broken file is an error when it is used, and in [`Library::problems`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bottle_contract::Untrusted;

use super::host_path::Base;
use super::model::{Agent, AgentProgram, Bottle, Origin, Resolved, WorkspaceMode};
use super::provider::{self, Provider};
use super::source::{Kind, Source};
use super::{brought, built_in, key, measure, raw};
use crate::error::{Error, Result};
use crate::suggest;
use crate::yaml::{self, At, Problem};

/// All definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    home: Option<PathBuf>,
    /// The definitions of each name, the effective one first.
    sources: BTreeMap<(Kind, String), Vec<Source>>,
    strays: Vec<Error>,
}

impl Library {
    /// The built-in definitions and `found`; `strays` are files with an invalid name.
    pub fn new(home: Option<&Path>, found: Vec<Source>, strays: Vec<Error>) -> Self {
        let mut sources: BTreeMap<_, Vec<Source>> = BTreeMap::new();
        // Defence in depth: `load` never reads one.
        let own = found.into_iter().filter(|s| !(s.kind != Kind::Agent && matches!(s.origin, Origin::Repo(_))));
        for source in own.chain(built_in::sources()) {
            sources.entry((source.kind, source.name.clone())).or_default().push(source);
        }
        for definitions in sources.values_mut() {
            definitions.sort_by_key(|source| rank(&source.origin));
        }
        Self { home: home.map(Path::to_owned), sources, strays }
    }

    /// The library with one definition more, or anew.
    #[must_use]
    pub fn with(mut self, source: Source) -> Self {
        let definitions = self.sources.entry((source.kind, source.name.clone())).or_default();
        definitions.retain(|other| other.origin != source.origin);
        definitions.push(source);
        definitions.sort_by_key(|source| rank(&source.origin));
        self
    }

    /// The names of one kind, sorted.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &str> + Clone {
        self.sources.keys().filter(move |(k, _)| *k == kind).map(|(_, name)| name.as_str())
    }

    /// The origins of a name: the effective definition, then those that it hides.
    pub fn origins(&self, kind: Kind, name: &str) -> Vec<&Origin> {
        self.sources.get(&(kind, name.to_owned())).into_iter().flatten().map(|source| &source.origin).collect()
    }

    /// The agent and its bottle.
    pub fn resolve(&self, agent: &str) -> Result<Resolved> {
        let escaped = Untrusted::new(agent);
        if !key::is_valid(agent) {
            return Err(Error::usage(format!("`{escaped}` is not an agent's name"), key::GRAMMAR, "`bottle info` lists the agents"));
        }
        let Some(source) = self.source(Kind::Agent, agent) else {
            let hint = suggest::among(agent, self.names(Kind::Agent), "the agents are");
            return Err(Error::usage(
                format!("there is no agent `{escaped}`"),
                "neither your configuration, this repository nor bottle defines it",
                hint,
            ));
        };
        let document = source.document()?;
        let raw: raw::Agent = yaml::parse(&document.yaml).map_err(|p| source.error(hint_at_bottle(p)))?;
        let read = |problem: Problem| source.error(problem);
        if document.body.len() > measure::MAX_ARGUMENT_BYTES {
            return Err(read(Problem::at(1, 1, "the prompt is too long", measure::ARGUMENT_HINT)));
        }
        let base = self.base(source);
        let program = self.program(&raw, source)?;
        let bottle = self.bottle(&raw.bottle, source, program.provider())?;
        let agent = Agent {
            name: agent.to_owned(),
            description: raw.description.as_ref().map_or(Ok(String::new()), description).map_err(read)?,
            model: raw.model.as_ref().map(|text| model(text, &program)).transpose().map_err(read)?,
            program,
            workspace: raw.workspace.as_ref().map(|mode| workspace(mode, &source.origin, &bottle)).transpose().map_err(read)?,
            home: raw.home.as_ref().map_or(Ok(Default::default()), |raw| brought::home(raw, &source.origin, base)).map_err(read)?,
            skills: raw.skills.as_ref().map_or(Ok(Vec::new()), |raw| brought::skills(raw, &source.origin, base)).map_err(read)?,
            mcp: raw.mcp.as_ref().map_or(Ok(BTreeMap::new()), brought::mcp).map_err(read)?,
            prompt: document.body,
            origin: source.origin.clone(),
        };
        Ok(Resolved { agent, bottle })
    }

    /// Every unusable file.
    pub fn problems(&self) -> Vec<Error> {
        let mut problems = self.strays.clone();
        let bottles = self.names(Kind::Bottle).filter_map(|name| self.resolve_bottle(name).err());
        let agents = self.names(Kind::Agent).filter_map(|name| self.resolve(name).err());
        let providers = self.names(Kind::Provider).filter_map(|name| self.provider(name, self.source(Kind::Provider, name)?).err());
        for problem in providers.chain(bottles).chain(agents) {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        problems
    }

    /// A bottle by its name.
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
        self.bottle(&own, source, None)
    }

    /// Follows `extends` from the bottle that `referrer` names to the last parent, and merges the manifests from there back. `provider` is
    /// the agent's.
    fn bottle(&self, name: &At<String>, referrer: &Source, provider: Option<&Provider>) -> Result<Bottle> {
        let mut manifests: Vec<(raw::Bottle, &Source)> = Vec::new();
        let mut chain: Vec<String> = Vec::new();
        let mut origin = Origin::BuiltIn;
        let (mut next, mut by) = (name.clone(), referrer);
        loop {
            // A bottle that extends its own name starts from the definition that it hides, as `dev` from the built-in one.
            let own = manifests.last().filter(|(_, last)| last.name == next.value).map(|(_, last)| *last);
            let hidden = own.and_then(|own| self.hidden_by(own));
            if hidden.is_none() && chain.contains(&next.value) {
                chain.push(next.value.clone());
                let what = format!("`extends` goes in a circle: {}", chain.join(" → "));
                return Err(by.error(next.problem(what, "remove one of these `extends`")));
            }
            let Some(source) = hidden.or_else(|| self.source(Kind::Bottle, &next.value)) else {
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
        let logins = self.logins(manifests.iter().map(|(_, source)| *source));
        let mut bottle = Bottle::closed(name.value.clone(), origin);
        for (raw, source) in manifests.iter().rev() {
            let base = Base { logins: Some(&logins), ..self.base(source) };
            bottle.merge(raw, base, &source.name, provider).map_err(|problem| source.error(problem))?;
        }
        Ok(bottle)
    }

    /// The logins that providers know, if one of the manifests may name one: to read all providers takes longer than a bottle.
    fn logins<'a>(&self, manifests: impl Iterator<Item = &'a Source>) -> BTreeMap<String, provider::Login> {
        let says_login = |source: &Source| source.content.as_ref().is_ok_and(|text| text.windows(5).any(|word| word == b"login"));
        let mut logins = BTreeMap::new();
        if manifests.into_iter().any(says_login) {
            for name in self.names(Kind::Provider) {
                let provider = self.source(Kind::Provider, name).and_then(|source| self.provider(name, source).ok());
                logins.extend(provider.and_then(|provider| Some((name.to_owned(), provider.login?))));
            }
        }
        logins
    }

    /// The definition that another of the same name hides.
    fn hidden_by(&self, source: &Source) -> Option<&Source> {
        let definitions = self.sources.get(&(source.kind, source.name.clone()))?;
        let own = definitions.iter().position(|other| std::ptr::eq(other, source))?;
        definitions.get(own + 1)
    }

    /// Where a manifest's paths start.
    fn base<'a>(&'a self, source: &'a Source) -> Base<'a> {
        Base { home: self.home.as_deref(), directory: source.path().and_then(Path::parent), logins: None }
    }

    /// Exactly one of the two keys names the program.
    fn program(&self, raw: &raw::Agent, by: &Source) -> Result<AgentProgram> {
        match (&raw.provider, &raw.command) {
            (Some(asked), None) => match self.source(Kind::Provider, &asked.value) {
                Some(source) => self.provider(&asked.value, source).map(|provider| AgentProgram::Provider(Box::new(provider))),
                None => {
                    let hint = suggest::among(&asked.value, self.names(Kind::Provider), "the providers are");
                    Err(by.error(asked.problem(format!("there is no provider `{}`", Untrusted::new(&asked.value)), hint)))
                }
            },
            (None, Some(command)) => self::command(command).map_err(|problem| by.error(problem)),
            (Some(_), Some(command)) => Err(by.error(command.problem("both `provider` and `command` name a program", "keep one of them"))),
            (None, None) => Err(by.error(raw.bottle.problem("the agent names no program", PROGRAM_HINT))),
        }
    }

    fn provider(&self, name: &str, source: &Source) -> Result<Provider> {
        let raw: provider::keys::Provider = yaml::parse(&source.document()?.yaml).map_err(|problem| source.error(problem))?;
        provider::read(name, &raw, source.origin.clone()).map_err(|problem| source.error(problem))
    }

    fn source(&self, kind: Kind, name: &str) -> Option<&Source> {
        self.sources.get(&(kind, name.to_owned()))?.first()
    }
}

fn rank(origin: &Origin) -> u8 {
    match origin {
        Origin::Home(_) => 0,
        Origin::Repo(_) => 1,
        Origin::BuiltIn => 2,
    }
}

/// For a key of a bottle, replaces the hint at the nearest agent's key.
fn hint_at_bottle(problem: Problem) -> Problem {
    const BOTTLE_KEYS: [&str; 20] = [
        "extends",
        "env",
        "egress",
        "git",
        "supervise",
        "limits",
        "rootfs",
        "tools",
        "routes",
        "presets",
        "scan",
        "backend",
        "hide",
        "auth",
        "token_ref",
        "token_file",
        "token_command",
        "on_secret",
        "allow_addresses",
        "audit",
    ];
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

const PROGRAM_HINT: &str = "write `provider: claude`, another provider, or `command: [program, argument]`";

/// A model's name, for a program that can be given one.
fn model(text: &At<String>, program: &AgentProgram) -> std::result::Result<String, Problem> {
    if program.provider().is_none_or(|provider| provider.model.is_empty()) {
        return Err(text.problem("this program cannot be given a model", "write it into the program's arguments, or remove the key"));
    }
    if text.value.is_empty() || text.value.starts_with('-') || text.value.chars().any(char::is_control) {
        return Err(text.problem("not a model's name", "write the name that the program knows"));
    }
    Ok(text.value.clone())
}

fn command(raw: &At<Vec<At<String>>>) -> std::result::Result<AgentProgram, Problem> {
    let arguments = &raw.value;
    if arguments.first().is_none_or(|program| program.value.is_empty()) {
        return Err(raw.problem("`command` names no program", "write `command: [program, argument]`"));
    }
    if let Some(argument) = arguments.iter().find(|argument| argument.value.contains('\0')) {
        return Err(argument.problem("a NUL in an argument", "arguments cannot contain one"));
    }
    if let Some(argument) = arguments.iter().find(|argument| argument.value.len() > measure::MAX_ARGUMENT_BYTES) {
        return Err(argument.problem("an argument is too long", measure::ARGUMENT_HINT));
    }
    Ok(AgentProgram::Command(arguments.iter().map(|argument| argument.value.clone()).collect()))
}

/// A repository's agent may restrict the bottle's workspace mode, but not widen it.
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
