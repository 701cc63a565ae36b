//! One bottle's own words, checked, and how they lie over its parent's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bottle_contract::Untrusted;

use super::model::{Author, Backend, Bottle, Egress, EnvValue, Limits, Origin, Parent, Repo, Rootfs, Route, Scan, WorkspaceMode};
use super::place::Base;
use super::{env, git, measure, place, raw, route};
use crate::yaml::{At, Problem};

/// What one bottle says; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    env: BTreeMap<String, EnvValue>,
    routes: Option<Vec<Route>>,
    trust: Option<Vec<PathBuf>>,
    parent: Option<Parent>,
    git: Option<Vec<Repo>>,
    author: Option<Author>,
    supervise: Option<bool>,
    rules: Option<Vec<PathBuf>>,
    answers: Option<bool>,
    limits: Limits,
    rootfs: Option<Rootfs>,
    tools: Option<Vec<PathBuf>>,
    workspace: Option<WorkspaceMode>,
    backend: Option<Backend>,
}

impl Layer {
    /// Checks each value.
    pub fn read(raw: &raw::Bottle, base: Base<'_>) -> Result<Self, Problem> {
        let egress = raw.egress.as_ref();
        let scan = raw.scan.as_ref();
        let routes = egress.and_then(|e| e.routes.as_deref()).map(route::table).transpose()?;
        Ok(Self {
            env: raw.env.as_ref().map_or(Ok(BTreeMap::new()), env::read)?,
            routes,
            trust: egress.and_then(|e| e.trust.as_ref()).map(|list| list.iter().map(|p| place::file(p, base)).collect()).transpose()?,
            parent: egress.and_then(|e| e.proxy.as_ref()).map(|proxy| route::parent(proxy, base)).transpose()?,
            git: raw.git.as_ref().map(|git| git::read(git, base)).transpose()?,
            author: raw.git.as_ref().and_then(|git| git.author.as_ref()).map(git::author).transpose()?,
            supervise: raw.supervise.as_ref().map(|on| on.value),
            rules: scan.and_then(|s| s.rules.as_ref()).map(|list| list.iter().map(|p| place::file(p, base)).collect()).transpose()?,
            answers: scan.and_then(|s| s.answers.as_ref()).map(|on| on.value),
            limits: raw.limits.as_ref().map_or(Ok(Limits::default()), limits)?,
            rootfs: raw.rootfs.as_ref().map(|rootfs| self::rootfs(rootfs, base)).transpose()?,
            tools: raw.tools.as_ref().map(|list| list.iter().map(|p| place::tool(p, base)).collect()).transpose()?,
            workspace: raw.workspace.as_ref().map(|mode| mode.value.into()),
            backend: raw.backend.as_ref().map(|backend| match backend.value {
                raw::Backend::Embedded => Backend::Embedded,
                raw::Backend::Compose => Backend::Compose,
            }),
        })
    }

    /// Lays `self` over its parent: variables, limits and the keys of `egress` and `scan` merge, everything else replaces.
    #[must_use]
    pub fn over(self, parent: Self) -> Self {
        let mut env = parent.env;
        env.extend(self.env);
        Self {
            env,
            routes: self.routes.or(parent.routes),
            trust: self.trust.or(parent.trust),
            parent: self.parent.or(parent.parent),
            author: if self.git.is_some() { self.author } else { parent.author },
            git: self.git.or(parent.git),
            supervise: self.supervise.or(parent.supervise),
            rules: self.rules.or(parent.rules),
            answers: self.answers.or(parent.answers),
            limits: Limits {
                memory: self.limits.memory.or(parent.limits.memory),
                pids: self.limits.pids.or(parent.limits.pids),
                time: self.limits.time.or(parent.limits.time),
            },
            rootfs: self.rootfs.or(parent.rootfs),
            tools: self.tools.or(parent.tools),
            workspace: self.workspace.or(parent.workspace),
            backend: self.backend.or(parent.backend),
        }
    }

    /// What nobody said is the closed or the default choice.
    #[must_use]
    pub fn into_bottle(self, name: String, origin: Origin) -> Bottle {
        Bottle {
            name,
            env: self.env,
            egress: Egress { routes: self.routes.unwrap_or_default(), trust: self.trust.unwrap_or_default(), parent: self.parent },
            git: self.git.unwrap_or_default(),
            author: self.author.unwrap_or_default(),
            supervise: self.supervise.unwrap_or_default(),
            scan: Scan { rules: self.rules.unwrap_or_default(), answers: self.answers.unwrap_or_default() },
            limits: self.limits,
            rootfs: self.rootfs.unwrap_or_default(),
            tools: self.tools.unwrap_or_default(),
            workspace: self.workspace.unwrap_or_default(),
            backend: self.backend.unwrap_or_default(),
            origin,
        }
    }
}

/// Refuses the keys whose sidecars are not part of this release: a bottle in which nobody could be asked would be believed
/// to ask.
pub fn refuse_unbuilt(raw: &raw::Bottle) -> Result<(), Problem> {
    match &raw.supervise {
        Some(on) if on.value => Err(on.problem("`supervise`: this version cannot ask a person yet", "remove the key")),
        _ => Ok(()),
    }
}

fn limits(raw: &raw::Limits) -> Result<Limits, Problem> {
    let read = |text: &At<String>, what: &str, hint: &str| text.problem(format!("`{}` is not a {what}", Untrusted::new(&text.value)), hint);
    let memory = |text: &At<String>| measure::size(&text.value).ok_or_else(|| read(text, "size", measure::SIZE_HINT));
    let time = |text: &At<String>| measure::duration(&text.value).ok_or_else(|| read(text, "duration", measure::DURATION_HINT));
    let pids = |count: &At<u64>| match count.value {
        0 => Err(count.problem("a limit of zero processes", "write at least 1, or remove the key")),
        count => Ok(count),
    };
    Ok(Limits {
        memory: raw.memory.as_ref().map(memory).transpose()?,
        pids: raw.pids.as_ref().map(pids).transpose()?,
        time: raw.time.as_ref().map(time).transpose()?,
    })
}

fn rootfs(raw: &At<raw::Rootfs>, base: Base<'_>) -> Result<Rootfs, Problem> {
    match &raw.value {
        raw::Rootfs::Host => Ok(Rootfs::Host),
        raw::Rootfs::Image(path) => Ok(Rootfs::Image(place::file(path, base)?)),
    }
}

impl From<raw::Workspace> for WorkspaceMode {
    fn from(raw: raw::Workspace) -> Self {
        match raw {
            raw::Workspace::Overlay => Self::Overlay,
            raw::Workspace::Copy => Self::Copy,
            raw::Workspace::Mount => Self::Mount,
            raw::Workspace::None => Self::None,
        }
    }
}
