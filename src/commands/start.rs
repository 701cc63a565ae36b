//! `bottle start`: from a wish to an exit code.

mod choice;
mod confirm;
mod summary;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap_complete::ArgValueCandidates;
use zeroize::Zeroizing;

use super::invocation::invocation;
use super::{Format, completions, home_files, rules};
use crate::backend::kind::Kind;
use crate::backend::{Input, repository};
use crate::error::{Error, NOT_FOUND, Result};
use crate::lifecycle::state_machine::Times;
use crate::lifecycle::{self, Performer, PolicySource, RunOptions};
use crate::manifest::model::{Resolved, Rootfs, WorkspaceMode};
use crate::manifest::provider::Provider;
use crate::manifest::{self, host_path};
use crate::plan::agent;
use crate::plan::build::Facts;
use crate::plan::toolchains::Toolchains;
use crate::plan::{Blueprint, Plan, plan};
use crate::signals::{self, Signals};
use crate::store::{Id, Layout, Reservation};
use crate::terminal::{self, Messages};
use crate::{agent_program, limits, tokens, values};

/// How long everything up to the agent's first instruction may take.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The same on an engine, which may have images to load and be busy with others.
const ENGINE_START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the sidecars may take to end by themselves.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an agent may take to end after it was asked, in seconds.
const DEFAULT_GRACE_SECONDS: u64 = 10;
/// No private key is longer.
const MAX_KEY_BYTES: usize = 64 << 10;

/// Start an agent in a bottle
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Agent: `bottle info` lists them
    #[arg(add = ArgValueCandidates::new(completions::agents))]
    pub agent: String,
    /// Give these arguments to the agent's program, as in `-- --verbose`; without a dash in front, run this program instead
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
    /// Print the agent's events as they come, in its own format (headless)
    #[arg(long)]
    pub stream: bool,
    /// Use this model, by the name that the agent's program knows
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
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
    /// Let the agent see a home directory, `/`, or another directory that holds credentials
    #[arg(long)]
    pub allow_private_directory: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How a dry run is printed
    #[command(flatten)]
    pub format: Format,
}

/// Starts a bottle, and returns the exit code once nothing of it is left.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let directory = std::env::current_dir()
        .map_err(|e| Error::failed("cannot tell the working directory", e, "change to a directory that exists, then start again"))?;
    let home = std::env::var_os("HOME").map(PathBuf::from);
    // The same manifests as now are read again while the bottle runs.
    let resolve = || manifest::load(&layout.config, home.as_deref(), Some(&directory))?.resolve(&args.agent);
    resolved(
        args,
        layout,
        resolve()?,
        directory.clone(),
        &Surroundings { variable: &|name| std::env::var(name).ok(), resolve: &resolve },
        out,
    )
}

/// Where a start looks for what the manifests only name.
pub(super) struct Surroundings<'s> {
    /// The values of variables.
    pub(super) variable: &'s dyn Fn(&str) -> Option<String>,
    /// The manifests as they are now.
    pub(super) resolve: &'s dyn Fn() -> Result<Resolved>,
}

/// Starts what the manifests say, in `directory`.
pub(super) fn resolved(
    args: &Args,
    layout: &Layout,
    resolved: Resolved,
    directory: PathBuf,
    surroundings: &Surroundings<'_>,
    out: &mut dyn Write,
) -> Result<u8> {
    let host = surroundings.variable;
    let is_set = |name: &str| host(name).is_some_and(|value| !value.trim().is_empty());
    let resolved = resolved.with_credentials(&is_set);
    let wish = invocation(args, &resolved.agent)?;
    let finds = resolved.bottle.toolchains && resolved.bottle.rootfs == Rootfs::Host;
    let toolchains = if finds { agent_program::toolchains(&resolved.bottle.tools) } else { Toolchains::default() };
    // What lies in the workspace is there anyhow.
    let names = if resolved.bottle.rootfs == Rootfs::Host { agent::programs(&resolved.agent, &wish) } else { Vec::new() };
    let found = names.into_iter().filter_map(|name| agent_program::choose(name, &toolchains));
    let programs: Vec<_> = found.filter(|program| !program.file.starts_with(&directory)).collect();
    let rules = rules::read(&resolved.bottle.scan.rules)?;
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let brought = home_files::read(&resolved.agent, home.as_deref())?;
    let refused = |path: &Path| host_path::is_private(path, home.as_deref());
    let place = repository::find(&directory, &refused);
    if refused(&place.top) && resolved.workspace() != WorkspaceMode::None && !args.allow_private_directory && !args.dry_run {
        return Err(private(&place.top));
    }
    let facts =
        Facts { place, terminal: terminal::is_interactive(), term: std::env::var("TERM").ok(), programs, toolchains, rules, home: brought };
    let base = args.name.as_deref().unwrap_or(&args.agent);
    base.parse::<Id>()?;
    let kind = choice::kind(args.backend, &resolved)?;
    if args.dry_run {
        let mut plan = plan(&resolved, base, &wish, &facts);
        plan.notes.extend(values::weak_tokens(&plan, host));
        return confirm::dry_run(args, kind, &plan, out);
    }
    if let (Some(provider), [], None) = (resolved.agent.program.provider(), &*facts.programs, &wish.command)
        && resolved.bottle.rootfs == Rootfs::Host
    {
        return Err(not_installed(provider));
    }
    limits::set()?;
    let mut signals = Signals::listen().map_err(|e| Error::failed("cannot listen for signals", e, "raise `ulimit -n`"))?;
    let reservation = Reservation::new(layout, base, args.name.as_deref())?;
    let blueprint = Blueprint { id: reservation.id().to_string(), resolved, run: wish, facts };
    let plan = blueprint.plan();
    let mut ask = |prompt: &str| terminal::secret(prompt, &mut signals);
    let ask: values::Ask<'_> = &mut ask;
    let values = values::resolve(
        &plan,
        host,
        &read_secret,
        &mut |source| tokens::fetch(source, &blueprint.facts.place.top),
        (blueprint.facts.terminal && !args.headless).then_some(ask),
    )?;
    let weak = values::weak_tokens(&plan, host);
    let backend = kind.open()?;
    let notes = [weak.clone(), backend.check(&plan)?].concat();
    let images = choice::images(kind, &plan, layout)
        .map_err(|error| signals::asked().map_or(error, |signal| confirm::interrupted(signal, "start it again")))?;
    if !confirm::confirm(args, kind, &plan, &notes, &mut signals)? {
        let mut messages = Messages::default();
        weak.iter().for_each(|note| messages.write(&format!("note: {note}\n")));
    }
    let begin = Instant::now();
    let mut claim = reservation.claim()?;
    let performer = Performer { name: kind.name(), backend, input: Input { values, window: terminal::window(), images } };
    let reread = |blueprint: &Blueprint| -> Result<Blueprint> {
        let resolved = (surroundings.resolve)()?.with_credentials(&is_set);
        let rules = rules::read(&resolved.bottle.scan.rules)?;
        Ok(Blueprint { resolved, facts: Facts { rules, ..blueprint.facts.clone() }, ..blueprint.clone() })
    };
    let policy = PolicySource { blueprint, reread: &reread };
    let report = match lifecycle::Run::new(&plan, performer, &mut claim, &mut signals, options(args, kind, &plan), policy) {
        Ok(run) => run.to_end(),
        Err(error) => {
            // Nothing was started: the failure itself is all there is to keep.
            claim.remove().unwrap_or_else(|error| summary::error_line(&error, &mut Messages::default()));
            return Err(error);
        }
    };
    summary::tell(&report, &plan, &mut claim, begin.elapsed());
    Ok(report.outcome.code())
}

fn options(args: &Args, kind: Kind, plan: &Plan) -> RunOptions {
    let start = match kind {
        Kind::Embedded => START_TIMEOUT,
        Kind::Compose => ENGINE_START_TIMEOUT,
    };
    let times = Times { start, run: plan.limits.time, grace: Duration::from_secs(args.grace), drain: DRAIN_TIMEOUT };
    RunOptions { times, feed: !args.headless, filter: !args.unfiltered }
}

/// Reads a file that holds a secret, without a copy of it that is not wiped.
fn read_secret(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_KEY_BYTES));
    File::open(path)?.take(MAX_KEY_BYTES as u64).read_to_string(&mut text)?;
    Ok(text)
}

/// The agent's own program is nowhere.
fn not_installed(provider: &Provider) -> Error {
    let install = provider.install.as_ref().map(|install| format!("`{install}`, or ")).unwrap_or_default();
    let hint = format!("{install}run another program: `bottle start AGENT -- CMD`");
    Error { code: NOT_FOUND, ..Error::failed(format!("`{}` is not installed", provider.program), "no directory of PATH has it", hint) }
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
