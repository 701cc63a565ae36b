//! `bottle start`: from a wish to an exit code.

mod args;
mod choice;
mod confirm;
mod facts;
mod summary;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use zeroize::Zeroizing;

pub use self::args::Args;
use super::invocation::invocation;
use super::rules;
use crate::backend::Input;
use crate::error::{Error, Result};
use crate::lifecycle::{self, Performer, PolicySource};
use crate::manifest;
use crate::manifest::model::Resolved;
use crate::plan::build::Facts;
use crate::plan::{Blueprint, plan};
use crate::signals::{self, Signals};
use crate::store::{Id, Layout, Reservation};
use crate::terminal::{self, Messages};
use crate::{limits, tokens, values};

/// No private key is longer.
const MAX_KEY_BYTES: usize = 64 << 10;

/// Starts a bottle, and returns the exit code once nothing of it is left.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let directory = std::env::current_dir()
        .map_err(|e| Error::failed("cannot tell the working directory", e, "change to a directory that exists, then start again"))?;
    let home = std::env::var_os("HOME").map(PathBuf::from);
    // The same manifests as now are read again while the bottle runs.
    let resolve = || manifest::load(&layout.config, home.as_deref(), Some(&directory))?.resolve(&args.agent);
    let surroundings = Surroundings { variable: &|name| std::env::var(name).ok(), resolve: &resolve, records_stay: true };
    resolved(args, layout, resolve()?, directory.clone(), &surroundings, out)
}

/// Where a start looks for what the manifests only name.
pub(super) struct Surroundings<'s> {
    /// The values of variables.
    pub(super) variable: &'s dyn Fn(&str) -> Option<String>,
    /// The manifests as they are now.
    pub(super) resolve: &'s dyn Fn() -> Result<Resolved>,
    /// The records outlive the command, so the operator is told how to verify them.
    pub(super) records_stay: bool,
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
    let wanted = invocation(args, &resolved.agent)?;
    let kind = choice::kind(args.backend, &resolved)?;
    let facts = facts::gather(args, &resolved, &wanted, &directory, kind)?;
    let base = args.name.as_deref().unwrap_or(&args.agent);
    base.parse::<Id>()?;
    if args.dry_run {
        let mut plan = plan(&resolved, base, &wanted, &facts);
        plan.notes.extend(values::weak_tokens(&plan, host));
        return confirm::dry_run(args, kind, &plan, out);
    }
    facts::check_program(&resolved, &wanted, &facts)?;
    limits::set()?;
    let mut signals = Signals::listen().map_err(|e| Error::failed("cannot listen for signals", e, "raise `ulimit -n`"))?;
    let reservation = Reservation::new(layout, base, args.name.as_deref())?;
    let blueprint = Blueprint { id: reservation.id().to_string(), resolved, invocation: wanted, facts };
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
        let facts = Facts { rules: rules::read(&resolved.bottle.scan.rules)?, ..blueprint.facts.clone() };
        Ok(Blueprint { resolved, facts, ..blueprint.clone() })
    };
    let policy = PolicySource { blueprint, reread: &reread };
    let report = match lifecycle::Run::new(&plan, performer, &mut claim, &mut signals, args.run_options(kind, &plan), policy) {
        Ok(run) => run.to_end(),
        Err(error) => {
            // Nothing was started: the failure itself is all there is to keep.
            claim.remove().unwrap_or_else(|error| summary::error_line(&error, &mut Messages::default()));
            return Err(error);
        }
    };
    summary::tell(&report, &plan, &mut claim, begin.elapsed(), surroundings.records_stay);
    Ok(report.outcome.code())
}

/// Reads a file that holds a secret, without a copy of it that is not wiped.
fn read_secret(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_KEY_BYTES));
    File::open(path)?.take(MAX_KEY_BYTES as u64).read_to_string(&mut text)?;
    Ok(text)
}
