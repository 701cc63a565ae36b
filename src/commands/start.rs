//! `bottle start`: from a wish to an exit code.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use clap_complete::ArgValueCandidates;
use zeroize::Zeroizing;

use super::{Format, completions, ending, rules};
use crate::backend::compose::{Compose, engine::Engine};
use crate::backend::embedded::Embedded;
use crate::backend::{self, Backend, BackendInput, Kind};
use crate::digest::sha256_hex;
use crate::error::{Error, NOT_FOUND, Result};
use crate::lifecycle::outcome::Outcome;
use crate::lifecycle::state_machine::Times;
use crate::lifecycle::{self, watch::RunOptions};
use crate::manifest::{
    self,
    model::{self, Resolved, Rootfs},
};
use crate::plan::agent::AGENT;
use crate::plan::agent::{self, Run};
use crate::plan::build::Facts;
use crate::plan::{Plan, plan};
use crate::render::preflight;
use crate::signals::{self, Signals};
use crate::store::{Claim, Exit, Id, Layout, Object, Phase};
use crate::terminal::{Answer, Messages};
use crate::timeline::{Opening, Timeline};
use crate::{agent_program, clock, image, limits, terminal, values};

/// Names the backend.
const BACKEND_VARIABLE: &str = "BOTTLE_BACKEND";
/// How long everything up to the agent's first instruction may take.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The same on an engine, which may have images to load and be busy with others.
const ENGINE_START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the sidecars may take to end by themselves.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an agent may take to end after it was asked, in seconds.
const DEFAULT_GRACE_SECONDS: u64 = 10;

/// Start an agent in a bottle
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Agent: `bottle info` lists them
    #[arg(add = ArgValueCandidates::new(completions::agents))]
    pub agent: String,
    /// Run this program instead of the agent's own
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
    /// Start without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Run without a person: no terminal, no questions
    #[arg(long)]
    pub headless: bool,
    /// Give the agent this task
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Set the bottle's id; without it, the agent's name or the next free one after it
    #[arg(long, value_name = "ID")]
    pub name: Option<String>,
    /// Kill the agent this many seconds after it was asked to exit
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_GRACE_SECONDS)]
    pub grace: u64,
    /// Let the agent's output act on more than the screen: clipboard, notifications, queries
    #[arg(long)]
    pub unfiltered: bool,
    /// Choose the backend; without it, $BOTTLE_BACKEND decides, then the manifest
    #[arg(long, value_enum)]
    pub backend: Option<Kind>,
    /// Hand over a home directory, `/`, or another directory that holds credentials
    #[arg(long)]
    pub allow_private_directory: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How a dry run is printed
    #[command(flatten)]
    pub format: Format,
}

/// No private key is longer.
const LONGEST_KEY: u64 = 64 << 10;

/// Reads a file that holds a secret, without a copy of it that is not wiped.
fn read_secret(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(LONGEST_KEY as usize));
    File::open(path)?.take(LONGEST_KEY).read_to_string(&mut text)?;
    Ok(text)
}

/// Starts a bottle, and returns the exit code once nothing of it is left.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let directory = std::env::current_dir()
        .map_err(|e| Error::failed("cannot tell the working directory", e, "change to a directory that exists, then start again"))?;
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let library = manifest::load(&layout.config, home.as_deref(), Some(&directory))?;
    resolved(args, layout, library.resolve(&args.agent)?, directory, &|name| std::env::var(name).ok(), out)
}

/// Starts what the manifests say, in `directory`; `host` has the values of variables.
pub(super) fn resolved(
    args: &Args,
    layout: &Layout,
    resolved: Resolved,
    directory: PathBuf,
    host: &dyn Fn(&str) -> Option<String>,
    out: &mut dyn Write,
) -> Result<u8> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let own = agent::program(&resolved.agent).filter(|_| resolved.bottle.rootfs == Rootfs::Host);
    let program = own.and_then(agent_program::look_up);
    let rules = rules::read(&resolved.bottle.scan.rules)?;
    let refused = |path: &Path| manifest::place::is_private(path, home.as_deref());
    let place = backend::repository::find(&directory, &refused);
    if refused(&place.top) && resolved.workspace() != model::WorkspaceMode::None && !args.allow_private_directory {
        return Err(private(&place.top));
    }
    let facts = Facts { place, terminal: terminal::is_interactive(), term: std::env::var("TERM").ok(), program, rules };
    let wish =
        Run { command: (!args.command.is_empty()).then(|| args.command.clone()), prompt: args.prompt.clone(), headless: args.headless };
    let base = args.name.as_deref().unwrap_or(&args.agent);
    base.parse::<Id>()?;
    let draft = plan(&resolved, base, &wish, &facts);
    let kind = kind(args, &resolved)?;
    let weak = values::weak_tokens(&draft, host);
    if args.dry_run {
        let notes = draft.notes.iter().chain(&weak).cloned().collect();
        return dry_run(args, kind, &Plan { notes, ..draft }, out);
    }
    if let (Some(name), None, None) = (own, &facts.program, &wish.command) {
        return Err(not_installed(name));
    }
    limits::set()?;
    let mut signals = Signals::listen().map_err(|e| Error::failed("cannot listen for signals", e, "raise `ulimit -n`"))?;
    let mut ask = |prompt: &str| terminal::secret(prompt, &mut signals);
    let ask: values::Ask<'_> = &mut ask;
    let values = values::resolve(&draft, host, &read_secret, (facts.terminal && !args.headless).then_some(ask))?;
    let engine = (kind == Kind::Compose).then(Engine::find).transpose()?;
    let mut notes = made(engine.as_ref(), &draft, BackendInput::empty())?.check()?;
    notes.splice(0..0, weak.iter().cloned());
    let called_off = |error| signals::asked().map_or(error, |signal| interrupted(signal, "start it again"));
    let (image, archives) = match (kind, &draft.rootfs) {
        (Kind::Compose, _) => (None, archives(&draft, layout).map_err(called_off)?),
        (Kind::Embedded, Rootfs::Image(archive)) => (Some(image::unpacked(archive, layout).map_err(called_off)?), BTreeMap::new()),
        (Kind::Embedded, Rootfs::Host) => (None, BTreeMap::new()),
    };
    if !confirm(args, kind, &draft, &notes, &mut signals)? {
        let mut messages = Messages::default();
        weak.iter().for_each(|note| messages.write(&format!("note: {note}\n")));
    }
    let mut claim = Claim::new(layout, base, args.name.as_deref())?;
    let begin = Instant::now();
    let plan = plan(&resolved, claim.id().as_str(), &wish, &facts);
    let given = BackendInput { values, window: terminal::window(), image, archives };
    let result = made(engine.as_ref(), &plan, given).and_then(|backend| live(args, &resolved, &plan, backend, &mut claim, &mut signals));
    let (outcome, troubles, head) = match result {
        Ok(ended) => ended,
        Err(error) => {
            // Nothing was started: the failure itself is all there is to keep.
            let errors = backend::undo::objects(&mut claim, backend::undo::Directory::Removed);
            let mut messages = Messages::default();
            errors.iter().for_each(|error| report(error, &mut messages));
            claim.remove().unwrap_or_else(|error| report(&error, &mut messages));
            return Err(error);
        }
    };
    let mut messages = Messages::default();
    if outcome.has_unfinished_line() {
        messages.write("\n");
    }
    tell(&plan, &outcome, &troubles, &mut messages);
    match ending::changes(&mut claim) {
        Ok(text) => messages.write(&text),
        Err(error) => report(&error, &mut messages),
    }
    messages.write(&ending::line(claim.id().as_str(), begin.elapsed(), claim.state().path()));
    if let Some(head) = head {
        // Kept elsewhere, it proves that nobody has rewritten the timeline, or cut records off its end.
        messages.write(&format!(
            "record: bottle audit verify {} --head {head}
",
            claim.id()
        ));
    }
    Ok(outcome.code())
}

/// A directory that nobody means to hand over.
fn private(directory: &Path) -> Error {
    let shown = bottle_contract::Untrusted::new(directory.as_os_str().as_encoded_bytes()).to_string();
    Error::usage(
        format!("`{shown}` is not handed to an agent"),
        "it is a home directory or the system's, or holds credentials",
        "change to a project's directory; `--allow-private-directory` hands this one over",
    )
}

/// Who makes the bottle: the command line says it, else the environment, else the manifest.
fn kind(args: &Args, resolved: &Resolved) -> Result<Kind> {
    if let Some(kind) = args.backend {
        return Ok(kind);
    }
    match std::env::var(BACKEND_VARIABLE) {
        Ok(name) if !name.is_empty() => Kind::from_str(&name, false).map_err(|_| {
            let name = bottle_contract::Untrusted::new(&name).to_string();
            Error::usage(
                format!("{BACKEND_VARIABLE} is `{name}`"),
                "there is no such backend",
                "set it to `embedded` or `compose`, or unset it",
            )
        }),
        _ => Ok(match resolved.bottle.backend {
            model::Backend::Embedded => Kind::Embedded,
            model::Backend::Compose => Kind::Compose,
        }),
    }
}

/// The backend of a start.
fn made<'p>(engine: Option<&Engine>, plan: &'p Plan, given: BackendInput) -> Result<Box<dyn Backend + 'p>> {
    Ok(match engine {
        Some(engine) => Box::new(Compose::new(plan, given, engine.clone())),
        None => Box::new(Embedded::new(plan, given)?),
    })
}

/// The images of all components, for an engine. `BOTTLE_IMAGE_EGRESS=FILE` names another archive, and so for each component.
fn archives(plan: &Plan, layout: &Layout) -> Result<BTreeMap<String, backend::Archive>> {
    let epoch = image::Epoch::parse(std::env::var_os(image::EPOCH_VARIABLE).as_deref())?;
    let of_file = |path: &Path| Ok(backend::Archive { id: image::config_digest(path)?, path: path.to_owned() });
    let mut archives = BTreeMap::new();
    for component in std::iter::once(AGENT).chain(plan.sidecars.iter().map(|s| s.component.as_str())) {
        let named = std::env::var_os(format!("BOTTLE_IMAGE_{}", component.to_ascii_uppercase().replace('-', "_")));
        let archive = match (named, &plan.rootfs) {
            (Some(path), _) => of_file(Path::new(&path))?,
            (None, Rootfs::Image(path)) if component == AGENT => of_file(path)?,
            (None, _) => {
                let recipe = image::find(if component == AGENT { "agent-host" } else { component }, &layout.config)?;
                let built = image::build(&recipe, &backend::sidecar_programs::Installed, epoch, layout)?;
                backend::Archive { id: built.config_digest, path: built.path }
            }
        };
        archives.insert(component.to_owned(), archive);
    }
    Ok(archives)
}

/// The agent's own program is nowhere.
fn not_installed(name: &str) -> Error {
    let hint = "`npm install -g @anthropic-ai/claude-code`, or run another program: `bottle start AGENT -- CMD`";
    Error { code: NOT_FOUND, ..Error::failed(format!("`{name}` is not installed"), "no directory of PATH has it", hint) }
}

fn dry_run(args: &Args, kind: Kind, plan: &Plan, out: &mut dyn Write) -> Result<u8> {
    let text = match args.format {
        Format::Text => preflight::dry_run(plan, kind.name(), &[]),
        Format::Json => format!(
            "{:#}\n",
            serde_json::to_value(plan).map_err(|e| Error::failed(
                "cannot print the plan",
                e,
                "this is a bug in bottle: please report it"
            ))?
        ),
    };
    out.write_all(text.as_bytes()).map_err(super::cannot_write)?;
    Ok(0)
}

/// Shows the summary, and asks unless the operator has said yes already. False when the summary was not shown.
fn confirm(args: &Args, kind: Kind, plan: &Plan, notes: &[String], signals: &mut Signals) -> Result<bool> {
    let asks = !args.yes && !args.headless;
    let mut messages = Messages::default();
    let summary = || preflight::preflight(plan, kind.name(), notes);
    if !asks {
        let shows = terminal::messages_are_seen();
        if shows {
            messages.write(&summary());
        }
        return Ok(shows);
    }
    let hint = "answer `y`, or add --yes";
    messages.ask(&summary(), signals).map_err(|signal| interrupted(signal, hint))?;
    if !terminal::is_interactive() {
        return Err(Error::usage("nobody can be asked whether to start", "standard input or output is not a terminal", "add --yes"));
    }
    terminal::drop_typed();
    messages.ask("start? [y/N] ", signals).map_err(|signal| interrupted(signal, hint))?;
    match terminal::answer(signals) {
        Answer::Line(line) if matches!(line.trim_ascii(), b"y" | b"Y" | b"yes") => Ok(true),
        Answer::Line(_) => Err(Error::failed("not started", "the answer was not yes", hint)),
        Answer::Signal(signal) => {
            // The cursor stands behind the question.
            messages.write("\n");
            Err(interrupted(signal, hint))
        }
    }
}

/// A signal came instead of an answer.
fn interrupted(signal: i32, hint: &str) -> Error {
    let code = u8::try_from(128 + signal).unwrap_or(crate::error::FAILED);
    Error { code, ..Error::failed("not started", lifecycle::outcome::name(signal), hint) }
}

/// From the first step to the last: nothing of the bottle is left but its directory of logs.
fn live(
    args: &Args,
    resolved: &Resolved,
    plan: &Plan,
    mut backend: Box<dyn Backend + '_>,
    claim: &mut Claim,
    signals: &mut Signals,
) -> Result<(Outcome, Vec<Error>, Option<String>)> {
    let text =
        serde_json::to_vec(plan).map_err(|e| Error::failed("cannot record the plan", e, "this is a bug in bottle: please report it"))?;
    claim.state().replace_unsynced("plan.json", &text, crate::files::PRIVATE)?;
    claim.update(|m| {
        resolved.bottle.name.clone_into(&mut m.bottle);
        resolved.agent.name.clone_into(&mut m.agent);
        m.backend = backend.name().into();
        m.directory = Some(plan.workspace.source.clone());
    })?;
    let digest = sha256_hex(&text);
    let opening = Opening { bottle: &plan.id, boot_id: &claim.metadata().boot_id, plan: &digest };
    let mut timeline = Timeline::create(claim.state(), &opening)?;
    let start = if backend.name() == Kind::Compose.name() { ENGINE_START_TIMEOUT } else { START_TIMEOUT };
    let times = Times { start, run: plan.limits.time, grace: Duration::from_secs(args.grace), drain: DRAIN_TIMEOUT };
    let options = RunOptions { times, feed: !args.headless, filter: !args.unfiltered };
    let (mut outcome, dropped) = lifecycle::run(plan, &mut *backend, claim, &mut timeline, signals, options)?;
    let mut troubles = backend.undo(claim);
    let head = timeline.close(&dropped).map_err(|error| outcome.failure(error)).ok();
    for (component, bytes) in &dropped {
        let what = format!("{bytes} bytes of the log of {component} are missing");
        troubles.push(Error::failed(what, "the disk or the log's limit was full", "free space before the next start"));
    }
    if outcome.unread_bytes() > 0 {
        let what = format!("{} bytes of the agent's output were not taken", outcome.unread_bytes());
        let hint = format!("`bottle logs {} agent` shows them", plan.id);
        troubles.push(Error::failed(what, "whoever reads bottle's output stood still", hint));
    }
    let exit =
        Exit { code: outcome.code(), signal: outcome.agent_signal(), message: outcome.reason().map(str::to_owned), ended: clock::now() };
    // What could not be removed is left to `bottle cleanup`, which looks at what has not ended.
    let whole = claim.metadata().objects.iter().all(|object| matches!(object, Object::WorkspaceDir(_)));
    let recorded = claim.update(|m| {
        m.phase = if whole { Phase::Ended } else { Phase::Stopping };
        m.exit = Some(exit);
    });
    troubles.extend(recorded.err());
    Ok((outcome, troubles, head))
}

/// What the operator reads at the end: nothing, unless there is something to say.
fn tell(plan: &Plan, outcome: &Outcome, troubles: &[Error], messages: &mut Messages) {
    let program = plan.agent.argv.first().map_or("", String::as_str);
    if let Some(error) = outcome.error() {
        report(error, messages);
    } else if let Some(sentence) = outcome.sentence(program) {
        report(&sentence, messages);
    }
    troubles.iter().for_each(|error| report(error, messages));
}

fn report(error: &Error, messages: &mut Messages) {
    messages.write(&format!("{error}\n"));
}
