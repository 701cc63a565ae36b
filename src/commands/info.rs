//! `bottle info`: shows what an agent may reach, which secrets it uses, and where that is defined.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use bottle_contract::Untrusted;
use bottle_contract::route::{Match, OnSecret, PathRule};
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use super::{Format, cannot_write, completions};
use crate::error::{Error, Result};
use crate::manifest::model::{AgentProgram, EnvValue, Limits, Origin, Resolved, Rootfs, Route, Scan, TemplatePart, WorkspaceMode};
use crate::manifest::source::describe;
use crate::manifest::token::TokenSource;
use crate::manifest::{Kind, Library};
use crate::plan::toolchains::Toolchains;

/// Show what an agent may reach, or list all agents
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Agent; without it, all agents and bottles are listed
    #[arg(add = ArgValueCandidates::new(completions::agents))]
    pub agent: Option<String>,
    /// How to print it
    #[command(flatten)]
    pub format: Format,
}

/// What is asked of the host. Values are never asked for.
pub struct Host<'a> {
    /// Whether it has a variable of this name.
    pub is_set: &'a dyn Fn(&str) -> bool,
    /// The operator's toolchains; the bottle shows these directories besides.
    pub toolchains: &'a dyn Fn(&[PathBuf]) -> Toolchains,
}

/// Prints the view.
pub fn run(args: &Args, out: &mut dyn Write, library: &Library, host: &Host<'_>) -> Result<()> {
    let Some(name) = &args.agent else { return list(args.format, out, library) };
    let resolved = library.resolve(name)?.with_credentials(host.is_set);
    let finds = resolved.bottle.toolchains && resolved.bottle.rootfs == Rootfs::Host;
    let toolchains = if finds { (host.toolchains)(&resolved.bottle.tools) } else { Toolchains::default() };
    let view = View::new(&resolved, library, host.is_set, &toolchains);
    let text = match args.format {
        Format::Text => view.text(),
        Format::Json => json(&view),
    };
    out.write_all(text.as_bytes()).map_err(cannot_write)
}

/// Prints all names, then returns the first problem as the error, so that a script sees it.
fn list(format: Format, out: &mut dyn Write, library: &Library) -> Result<()> {
    let problems = library.problems();
    let list = List {
        agents: library.names(Kind::Agent).map(|name| Entry::new(library, Kind::Agent, name)).collect(),
        bottles: library.names(Kind::Bottle).map(|name| Entry::new(library, Kind::Bottle, name)).collect(),
        problems: problems.iter().map(|p| Trouble { what: p.what.clone(), cause: p.cause.to_string(), hint: p.hint.clone() }).collect(),
    };
    let text = match format {
        Format::Text => list.text(),
        Format::Json => json(&list),
    };
    out.write_all(text.as_bytes()).map_err(cannot_write)?;
    match problems.as_slice() {
        [] => Ok(()),
        [only] => Err(only.clone()),
        [first, ..] => Err(Error::usage(
            format!("{} definitions cannot be used", problems.len()),
            first.cause.clone(),
            "the list above names each of them",
        )),
    }
}

fn json(view: &impl Serialize) -> String {
    // Serialising these views cannot fail.
    serde_json::to_string_pretty(view).unwrap_or_default() + "\n"
}

/// All names.
#[derive(Serialize)]
struct List {
    agents: Vec<Entry>,
    bottles: Vec<Entry>,
    problems: Vec<Trouble>,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    description: Option<String>,
    defined: String,
    hides: Vec<String>,
}

#[derive(Serialize)]
struct Trouble {
    what: String,
    cause: String,
    hint: String,
}

impl Entry {
    fn new(library: &Library, kind: Kind, name: &str) -> Self {
        let mut origins = library.origins(kind, name).into_iter().map(describe);
        let description = (kind == Kind::Agent).then(|| library.resolve(name).ok()).flatten();
        Self {
            name: name.to_owned(),
            description: description.map(|resolved| Untrusted::new(&resolved.agent.description).to_string()),
            defined: origins.next().unwrap_or_default(),
            hides: origins.collect(),
        }
    }
}

impl List {
    fn text(&self) -> String {
        let mut text = String::new();
        for (title, entries) in [("agents", &self.agents), ("bottles", &self.bottles)] {
            let _ = writeln!(text, "{title}");
            let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
            for entry in entries {
                let description = entry.description.iter().filter(|d| !d.is_empty()).map(|d| format!("{d}, ")).collect::<String>();
                let _ = writeln!(text, "  {:width$}  {description}{}{}", entry.name, entry.defined, hides(&entry.hides));
            }
        }
        if !self.problems.is_empty() {
            text.push_str("problems\n");
        }
        for problem in &self.problems {
            let _ = writeln!(text, "  {}\n    cause: {}\n    hint:  {}", problem.what, problem.cause, problem.hint);
        }
        text
    }
}

fn hides(others: &[String]) -> String {
    if others.is_empty() { String::new() } else { format!(" (hides: {})", others.join(", ")) }
}

/// One agent in its bottle: names and paths, but no value that could be a secret.
#[derive(Serialize)]
struct View<'a> {
    agent: String,
    description: String,
    provider: &'a AgentProgram,
    defined: String,
    hides: Vec<String>,
    bottle: &'a str,
    bottle_defined: String,
    bottle_hides: Vec<String>,
    workspace: WorkspaceMode,
    routes: &'a [Route],
    trust: Vec<String>,
    /// Scanning beyond the default.
    scans: Vec<String>,
    proxy: Option<String>,
    tokens: Vec<Token<'a>>,
    env: Vec<Variable<'a>>,
    limits: Bounds,
    rootfs: &'a Rootfs,
    tools: Vec<String>,
    /// Programs and toolchains of the operator's home, as found now.
    toolchains: Vec<String>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Token<'a> {
    name: &'a str,
    set: bool,
}

#[derive(Serialize)]
struct Variable<'a> {
    name: &'a str,
    /// `given` in the manifest, `host` or `asked`.
    from: &'static str,
    /// The host's variables that it needs.
    needs: Vec<Token<'a>>,
}

impl<'a> View<'a> {
    fn new(resolved: &'a Resolved, library: &Library, is_set: &dyn Fn(&str) -> bool, toolchains: &Toolchains) -> Self {
        let (agent, bottle) = (&resolved.agent, &resolved.bottle);
        let others = |kind, name: &str| library.origins(kind, name).into_iter().skip(1).map(describe).collect();
        let token = |name: &'a str| Token { name, set: is_set(name) };
        let tokens: BTreeSet<&str> = bottle
            .egress
            .routes
            .iter()
            .filter_map(|route| route.auth.as_ref().filter(|auth| auth.source == TokenSource::Variable))
            .map(|auth| auth.token_ref.as_str())
            .collect();
        let variable = |(name, value): (&'a String, &'a EnvValue)| {
            let needs: BTreeSet<&str> = match value {
                EnvValue::Ask(_) => BTreeSet::new(),
                EnvValue::Template(parts) => {
                    parts.iter().filter_map(|part| if let TemplatePart::Host(host) = part { Some(host.as_str()) } else { None }).collect()
                }
            };
            let from = match value {
                EnvValue::Ask(_) => "asked",
                EnvValue::Template(_) if needs.is_empty() => "given",
                EnvValue::Template(_) => "host",
            };
            Variable { name, from, needs: needs.into_iter().map(token).collect() }
        };
        Self {
            agent: agent.name.clone(),
            description: Untrusted::new(&agent.description).to_string(),
            provider: &agent.program,
            defined: describe(&agent.origin),
            hides: others(Kind::Agent, &agent.name),
            bottle: &bottle.name,
            bottle_defined: describe(&bottle.origin),
            bottle_hides: others(Kind::Bottle, &bottle.name),
            workspace: resolved.workspace(),
            routes: &bottle.egress.routes,
            trust: bottle.egress.trust.iter().map(|path| path_text(path)).collect(),
            scans: scans(&bottle.scan),
            proxy: bottle.egress.parent.as_ref().map(|parent| parent.address.to_string()),
            tokens: tokens.into_iter().map(token).collect(),
            env: bottle.env.iter().map(variable).collect(),
            limits: Bounds::new(bottle.limits),
            rootfs: &bottle.rootfs,
            tools: bottle.tools.iter().map(|path| path_text(path)).collect(),
            toolchains: toolchains.trees.iter().map(|path| path_text(path)).collect(),
            notes: resolved.notes().into_iter().chain(toolchains.notes()).collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut row = |title: &str, value: &str| {
            let _ = writeln!(text, "{}", format!("{title:<10} {value}").trim_end());
        };
        row("agent", &format!("{}, {}{}", self.agent, self.defined, hides(&self.hides)));
        if !self.description.is_empty() {
            row("", &self.description);
        }
        row("program", &program(self.provider));
        row("bottle", &format!("{}, {}{}", self.bottle, self.bottle_defined, hides(&self.bottle_hides)));
        row("workspace", workspace(self.workspace));
        row("root", &rootfs(self.rootfs));
        let routes: Vec<(String, String)> = self.routes.iter().map(|r| (address(r), rules(r) + &origin(r, self.bottle))).collect();
        let width = routes.iter().map(|(address, _)| address.len()).max().unwrap_or(0);
        let lines: Vec<String> = routes.iter().map(|(address, rules)| format!("{address:width$}  {rules}")).collect();
        let tokens: Vec<String> = self.tokens.iter().map(Token::text).collect();
        let env: Vec<String> = self.env.iter().map(Variable::text).collect();
        let proxy: Vec<String> = self.proxy.iter().cloned().collect();
        let (limits, nothing) = (self.limits.text(), vec!["nothing".to_owned()]);
        for (title, lines) in [
            ("reaches", if lines.is_empty() { &nothing } else { &lines }),
            ("through", &proxy),
            ("trusts", &self.trust),
            ("scans", &self.scans),
            ("tokens", &tokens),
            ("variables", &env),
            ("tools", &self.tools),
            ("toolchain", &self.toolchains),
            ("limits", &limits),
            ("note", &self.notes),
        ] {
            for (number, line) in lines.iter().enumerate() {
                row(if number == 0 { title } else { "" }, line);
            }
        }
        text
    }
}

/// Limits; absent where the default applies.
#[derive(Serialize)]
struct Bounds {
    memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scratch_bytes: Option<u64>,
    processes: Option<u64>,
    seconds: Option<u64>,
}

impl Bounds {
    fn new(limits: Limits) -> Self {
        Self {
            memory_bytes: limits.memory,
            scratch_bytes: limits.scratch,
            processes: limits.pids,
            seconds: limits.time.map(|time| time.as_secs()),
        }
    }

    fn text(&self) -> Vec<String> {
        let line = |value: Option<u64>, what: &str| value.map(|value| format!("{value} {what}"));
        [
            line(self.memory_bytes, "bytes of memory"),
            line(self.scratch_bytes, "bytes of scratch space"),
            line(self.processes, "processes"),
            line(self.seconds, "seconds"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Token<'_> {
    fn text(&self) -> String {
        format!("{} ({})", self.name, if self.set { "set" } else { "not set" })
    }
}

impl Variable<'_> {
    fn text(&self) -> String {
        let needs: Vec<String> = self.needs.iter().map(Token::text).collect();
        match self.from {
            "asked" => format!("{}, asked for at start", self.name),
            "host" => format!("{}, from {}", self.name, needs.join(", ")),
            _ => self.name.to_owned(),
        }
    }
}

fn program(program: &AgentProgram) -> String {
    match program {
        AgentProgram::Provider(provider) => Untrusted::new(&provider.title).to_string(),
        AgentProgram::Command(words) => words.iter().map(|word| Untrusted::new(word).to_string()).collect::<Vec<_>>().join(" "),
    }
}

fn workspace(mode: WorkspaceMode) -> &'static str {
    match mode {
        WorkspaceMode::Overlay => "overlay: copy on write, your files stay as they are",
        WorkspaceMode::Copy => "copy: a full copy, your files stay as they are",
        WorkspaceMode::Mount => "mount: your files themselves, writable",
        WorkspaceMode::None => "none: an empty directory",
    }
}

fn rootfs(rootfs: &Rootfs) -> String {
    match rootfs {
        Rootfs::Host => "the host's tools, read-only".to_owned(),
        Rootfs::Image(path) => format!("image {}", path_text(path)),
    }
}

fn address(route: &Route) -> String {
    if route.ports == bottle_contract::route::DEFAULT_PORTS {
        return route.host.to_string();
    }
    let ports: Vec<String> = route.ports.iter().map(u16::to_string).collect();
    format!("{}:{}", route.host, ports.join(","))
}

fn rules(route: &Route) -> String {
    let mut parts: Vec<String> = route.matches.iter().map(rule).collect();
    match (parts.is_empty(), route.ask) {
        (true, true) => parts.push("asks a person".to_owned()),
        (true, false) => parts.push("everything".to_owned()),
        (false, true) => parts.push("else asks a person".to_owned()),
        (false, false) => {}
    }
    let mut text = parts.join("; ");
    if let Some(auth) = &route.auth {
        let _ = write!(text, ", with {} as {}", auth.token_ref, auth.header);
    }
    if let Some(address) = &route.connect {
        let _ = write!(text, ", at {address}");
    }
    match route.on_secret() {
        (OnSecret::Refuse, _) => {}
        (OnSecret::Redact, []) => text.push_str(", secrets redacted"),
        (OnSecret::Redact, _) => text.push_str(", secrets in conversations redacted"),
    }
    text
}

/// Where a row comes from, if it is not the bottle's own.
fn origin(route: &Route, bottle: &str) -> String {
    match (&route.from.preset, route.from.bottle == bottle) {
        (None, true) => String::new(),
        (None, false) => format!("  (from {})", route.from.bottle),
        (Some(preset), true) => format!("  (preset {preset})"),
        (Some(preset), false) => format!("  (preset {preset} of {})", route.from.bottle),
    }
}

fn rule(rule: &Match) -> String {
    let methods = if rule.methods.is_empty() { "every method".to_owned() } else { rule.methods.join(" ") };
    let paths: Vec<String> = rule
        .paths
        .iter()
        .map(|path| match path {
            PathRule::Exact(path) => path.clone(),
            PathRule::Prefix(path) => format!("{path}…"),
        })
        .collect();
    if paths.is_empty() { methods } else { format!("{methods} {}", paths.join(" ")) }
}

fn scans(scan: &Scan) -> Vec<String> {
    let answers = scan.answers.then(|| "answers, for text that tries to instruct the agent".to_owned());
    let excepted = Some(scan.allow.len()).filter(|count| *count > 0).map(|count| format!("except for {count} values of `scan.allow`"));
    scan.rules.iter().map(|path| format!("by the rules of {} too", path_text(path))).chain(answers).chain(excepted).collect()
}

fn path_text(path: &std::path::Path) -> String {
    describe(&Origin::Home(path.to_owned()))
}
