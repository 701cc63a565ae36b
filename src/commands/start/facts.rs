//! What a start finds on the host: the repository, the agent's program, rules, files for its home, the terminal.

use std::path::{Path, PathBuf};

use super::Args;
use crate::backend::kind::Kind;
use crate::backend::repository;
use crate::commands::{home_files, rules};
use crate::error::{Error, NOT_FOUND, Result};
use crate::manifest::host_path;
use crate::manifest::model::{Resolved, Rootfs, WorkspaceMode};
use crate::manifest::provider::Provider;
use crate::plan::agent::{self, Invocation};
use crate::plan::build::Facts;
use crate::plan::toolchains::Toolchains;
use crate::{agent_program, terminal};

/// The facts for a start in `directory` under this backend.
pub(super) fn gather(args: &Args, resolved: &Resolved, invocation: &Invocation, directory: &Path, kind: Kind) -> Result<Facts> {
    let on_host = resolved.bottle.rootfs == Rootfs::Host;
    let toolchains =
        if on_host && resolved.bottle.toolchains { agent_program::toolchains(&resolved.bottle.tools) } else { Toolchains::default() };
    let names = if on_host { agent::programs(&resolved.agent, invocation) } else { Vec::new() };
    let found = names.into_iter().filter_map(|name| agent_program::choose(name, &toolchains));
    // The agent sees its workspace in any case.
    let programs = found.filter(|program| !program.file.starts_with(directory)).collect();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let is_private = |path: &Path| host_path::is_private(path, home.as_deref());
    let place = repository::find(directory, &is_private);
    if is_private(&place.top) && resolved.workspace() != WorkspaceMode::None && !args.allow_private_directory && !args.dry_run {
        return Err(private(&place.top));
    }
    Ok(Facts {
        place,
        terminal: terminal::is_interactive(),
        term: std::env::var("TERM").ok(),
        programs,
        toolchains,
        rules: rules::read(&resolved.bottle.scan.rules)?,
        home: home_files::read(&resolved.agent, home.as_deref())?,
        has_local_names: kind.has_local_names(),
    })
}

/// Fails if the agent's own program should run, and no directory of PATH has it.
pub(super) fn check_program(resolved: &Resolved, invocation: &Invocation, facts: &Facts) -> Result<()> {
    match (resolved.agent.program.provider(), &*facts.programs, &invocation.command) {
        (Some(provider), [], None) if resolved.bottle.rootfs == Rootfs::Host => Err(not_installed(provider)),
        _ => Ok(()),
    }
}

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
