//! Builds a bottle from its manifest and the manifest's parents. Each key is validated where it is written, and overrides the
//! parents' key.

use std::collections::BTreeMap;
use std::time::Duration;

use bottle_contract::Untrusted;

use super::host_path::{self, Base};
use super::model::{Author, Backend, Bottle, Egress, Limits, Origin, Rootfs, Scan, Supervise, Unattended, WorkspaceMode};
use super::provider::Provider;
use super::{env, measure, raw, reach, repo};
use crate::yaml::{At, Problem};

impl Bottle {
    /// A bottle with only defaults: it allows nothing.
    pub fn closed(name: String, origin: Origin) -> Self {
        Self {
            name,
            env: BTreeMap::new(),
            egress: Egress::default(),
            git: Vec::new(),
            author: Author::default(),
            supervise: None,
            scan: Scan::default(),
            limits: Limits::default(),
            rootfs: Rootfs::default(),
            tools: Vec::new(),
            toolchains: true,
            workspace: WorkspaceMode::default(),
            backend: Backend::default(),
            origin,
        }
    }

    /// Merges one manifest: variables, limits and the keys of `egress` and `scan` one by one, every other key as a whole. Paths are
    /// relative to `base`; `name` is the bottle's, and `provider` the agent's.
    pub fn merge(&mut self, raw: &raw::Bottle, base: Base<'_>, name: &str, provider: Option<&Provider>) -> Result<(), Problem> {
        let files = |list: &Vec<At<String>>| list.iter().map(|path| host_path::file(path, base)).collect::<Result<_, _>>();
        if let Some(variables) = &raw.env {
            self.env.extend(env::read(variables)?);
        }
        if let Some(egress) = &raw.egress {
            reach::add(&mut self.egress, egress, name, provider, base)?;
            set(&mut self.egress.trust, egress.trust.as_ref().map(files))?;
            set(&mut self.egress.parent, egress.proxy.as_ref().map(|proxy| super::route::parent(proxy, base).map(Some)))?;
        }
        if let Some(repos) = &raw.git {
            self.git = repo::read(repos, base)?;
            self.author = repos.author.as_ref().map_or(Ok(Author::default()), repo::author)?;
        }
        set(&mut self.supervise, raw.supervise.as_ref().map(|raw| supervise(raw, base)))?;
        if let Some(scan) = &raw.scan {
            set(&mut self.scan.rules, scan.rules.as_ref().map(files))?;
            set(&mut self.scan.answers, scan.answers.as_ref().map(|on| Ok(on.value)))?;
            self.scan.allow.extend(scan.allow.iter().flatten().map(excepted).collect::<Result<Vec<_>, _>>()?);
        }
        if let Some(limits) = &raw.limits {
            set(&mut self.limits.memory, limits.memory.as_ref().map(|text| memory(text).map(Some)))?;
            set(&mut self.limits.scratch, limits.scratch.as_ref().map(|text| memory(text).map(Some)))?;
            set(&mut self.limits.pids, limits.pids.as_ref().map(|count| pids(count).map(Some)))?;
            set(&mut self.limits.time, limits.time.as_ref().map(|text| time(text).map(Some)))?;
        }
        set(&mut self.rootfs, raw.rootfs.as_ref().map(|rootfs| self::rootfs(rootfs, base)))?;
        if let Some(tools) = &raw.tools {
            (self.tools, self.toolchains) = match &tools.value {
                raw::Tools::None => (Vec::new(), false),
                raw::Tools::List(list) => (list.iter().map(|path| host_path::tool(path, base)).collect::<Result<_, _>>()?, true),
                raw::Tools::Unknown => {
                    return Err(tools.problem("expected a list of directories, or the word none", "write `tools: [/opt/tool]`"));
                }
            };
        }
        set(&mut self.workspace, raw.workspace.as_ref().map(|mode| Ok(mode.value.into())))?;
        set(&mut self.backend, raw.backend.as_ref().map(|backend| Ok(backend.value.into())))
    }
}

/// Sets a value if there is a new one.
fn set<T>(value: &mut T, new: Option<Result<T, Problem>>) -> Result<(), Problem> {
    if let Some(new) = new {
        *value = new?;
    }
    Ok(())
}

/// The digest of a value that is no secret.
fn excepted(text: &At<String>) -> Result<String, Problem> {
    let digest = text.value.to_ascii_lowercase();
    match bottle_policy::scanner::digest(&digest) {
        Some(_) => Ok(digest),
        None => Err(text.problem("not a SHA-256", "write the 64 hexadecimal digits that `bottle explain` shows for the value")),
    }
}

/// Clients wait for 60 seconds at least.
const MAX_HOLD: Duration = Duration::from_secs(55);

fn supervise(raw: &At<raw::Supervise>, base: Base<'_>) -> Result<Option<Supervise>, Problem> {
    let keys = match &raw.value {
        raw::Supervise::On(on) => return Ok(on.then(Supervise::default)),
        raw::Supervise::As(keys) => keys,
        raw::Supervise::Unknown => {
            return Err(raw.problem("expected true, false or a mapping", "`yes`, `no`, `on` and `off` are not booleans here"));
        }
    };
    let mut supervise = Supervise::default();
    if let Some(unattended) = &keys.unattended {
        supervise.unattended = match unattended.value {
            raw::Unattended::Deny => Unattended::Deny,
            raw::Unattended::Queue => Unattended::Queue,
        };
    }
    if let Some(text) = &keys.hold {
        let hold = time(text)?;
        if hold.is_zero() || hold > MAX_HOLD {
            return Err(
                text.problem("a request cannot be held for so long", "write 1s to 55s: the least patient clients wait for 60 seconds")
            );
        }
        supervise.hold = hold;
    }
    supervise.signers = keys.signers.as_ref().map(|path| host_path::file(path, base)).transpose()?;
    Ok(Some(supervise))
}

fn memory(text: &At<String>) -> Result<u64, Problem> {
    measure::size(&text.value).ok_or_else(|| not_a("size", text, measure::SIZE_HINT))
}

fn time(text: &At<String>) -> Result<Duration, Problem> {
    measure::duration(&text.value).ok_or_else(|| not_a("duration", text, measure::DURATION_HINT))
}

fn not_a(what: &str, text: &At<String>, hint: &str) -> Problem {
    text.problem(format!("`{}` is not a {what}", Untrusted::new(&text.value)), hint)
}

fn pids(count: &At<u64>) -> Result<u64, Problem> {
    match count.value {
        0 => Err(count.problem("a limit of zero processes", "write at least 1, or remove the key")),
        count => Ok(count),
    }
}

fn rootfs(raw: &At<raw::Rootfs>, base: Base<'_>) -> Result<Rootfs, Problem> {
    match &raw.value {
        raw::Rootfs::Host => Ok(Rootfs::Host),
        raw::Rootfs::Image(path) => Ok(Rootfs::Image(host_path::file(path, base)?)),
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

impl From<raw::Backend> for Backend {
    fn from(raw: raw::Backend) -> Self {
        match raw {
            raw::Backend::Embedded => Self::Embedded,
            raw::Backend::Compose => Self::Compose,
        }
    }
}
