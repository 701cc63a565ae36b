//! The mounts of each component, from the plan and the facts. Pure.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use bottle_contract::names;
use bottle_init::spec::{Mount, Source};

use crate::backend::etc;
use crate::backend::host_tree::Entry;
use crate::backend::ids::INSIDE;
use crate::backend::prepared_workspace::{View, Views};
use crate::manifest::model::{Rootfs, WorkspaceMode};
use crate::plan::agent::{HOME, SMALL_BYTES};
use crate::plan::{Plan, SidecarPlan};

/// What the mounts of an agent are made from.
#[derive(Debug)]
pub struct AgentFacts<'a> {
    /// What the host offers.
    pub host: &'a [Entry],
    /// The certificate of the authority that the agent trusts.
    pub ca_pem: &'a str,
    /// Where the agent's changes go, or its copies.
    pub views: &'a Views,
}

/// The agent's file system.
pub fn agent(plan: &Plan, facts: &AgentFacts<'_>) -> Vec<Mount> {
    let mut mounts = Vec::new();
    if plan.rootfs == Rootfs::Host {
        mounts.extend(facts.host.iter().map(|entry| match entry {
            Entry::Tree(path) => read_only(path, path),
            Entry::Link { at, to } => Mount::Symlink { to: to.clone(), target: at.clone() },
        }));
    }
    mounts.extend([
        Mount::Dev,
        Mount::Proc,
        scratch(plan, "/tmp", 0o1777),
        scratch(plan, "/var/tmp", 0o1777),
        scratch(plan, "/run", 0o755),
        scratch(plan, HOME, 0o700),
    ]);
    mounts.extend(etc_mounts(plan, facts.ca_pem));
    mounts.extend(plan.tools.iter().map(|path| read_only(path, path)));
    mounts.extend(plan.agent.links.iter().map(|(target, to)| Mount::Symlink { to: to.clone(), target: target.clone() }));
    mounts.extend(plan.agent.files.iter().map(|(target, text)| Mount::File { target: target.clone(), text: text.clone(), mode: 0o600 }));
    // Order matters: a git directory may hold the worktree.
    if let (Some(view), Some(target)) = (&facts.views.git, &plan.workspace.git) {
        mounts.push(shown(view, target));
    }
    mounts.push(workspace(plan, facts.views));
    mounts.extend(plan.workspace.alias().map(|alias| Mount::Symlink { to: plan.workspace.target.clone(), target: alias.to_owned() }));
    mounts
}

/// A sidecar's file system: its own directories, and nothing else.
pub fn sidecar(sidecar: &SidecarPlan, runtime: &Path, resolution: &[(PathBuf, String)]) -> Vec<Mount> {
    let own = runtime.join(&sidecar.component);
    let mut mounts = vec![read_only(&own.join("config"), Path::new(names::CONFIG_DIR))];
    if sidecar.authority {
        mounts.push(read_only(&own.join("ca"), Path::new(names::CA_DIR)));
    }
    if !sidecar.secrets.is_empty() {
        mounts.push(read_only(&own.join("secrets"), Path::new(names::SECRETS_DIR)));
    }
    if sidecar.dials_siblings {
        mounts.push(read_only(&runtime.join("link"), Path::new(names::LINK_DIR)));
    }
    mounts.extend(resolution.iter().map(|(target, text)| Mount::File { target: target.clone(), text: text.clone(), mode: 0o444 }));
    mounts
}

fn read_only(source: &Path, target: &Path) -> Mount {
    Mount::Bind { source: Source::Path(source.to_owned()), target: target.to_owned(), writable: false }
}

fn scratch(plan: &Plan, target: &str, mode: u32) -> Mount {
    Mount::Tmpfs { target: target.into(), size: plan.limits.scratch, mode, executable: true }
}

fn workspace(plan: &Plan, views: &Views) -> Mount {
    let target = plan.workspace.target.clone();
    match (&views.tree, plan.workspace.mode) {
        (Some(view), _) => shown(view, &target),
        (None, WorkspaceMode::None) => Mount::Tmpfs { target, size: plan.limits.scratch, mode: 0o755, executable: true },
        (None, _) => Mount::Bind { source: Source::Path(plan.workspace.source.clone()), target, writable: true },
    }
}

fn shown(view: &View, target: &Path) -> Mount {
    let path = |path: &Path| Source::Path(path.to_owned());
    match view.is_overlay {
        true => Mount::Overlay { lower: path(&view.source), changes: path(&view.directory), target: target.to_owned() },
        false => Mount::Bind { source: path(&view.changes), target: target.to_owned(), writable: true },
    }
}

/// What `/etc` says inside, and the few directories that programs look into.
fn etc_mounts(plan: &Plan, ca_pem: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = etc::files(plan, ca_pem, INSIDE, |_| Ipv4Addr::LOCALHOST)
        .into_iter()
        .map(|(target, text)| Mount::File { target: target.into(), text, mode: 0o644 })
        .collect();
    mounts.extend(etc::LINKS.map(|(target, to)| Mount::Symlink { to: to.into(), target: target.into() }));
    // An empty directory that programs change into, and one that they list.
    mounts.extend(["/var/empty", "/mnt", "/sys"].map(|target| Mount::Directory { target: target.into(), mode: 0o555 }));
    mounts.push(Mount::Tmpfs { target: "/var/lib".into(), size: SMALL_BYTES, mode: 0o755, executable: false });
    mounts
}
