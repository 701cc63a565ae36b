//! The embedded backend: namespaces, no daemon, no root, nothing to install.
//!
//! The agent's network namespace holds only `lo`. The sockets on it are opened by the agent's own first process,
//! before it gives up its privileges, and handed to the sidecars that serve them: so `egress:9099` answers inside,
//! though no packet can leave.

pub mod cgroup;
pub mod process;
pub mod root;
mod sources;
pub mod spawn;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use bottle_init::spec::{Mount, Source, Surroundings};

use super::ids::{self, Ids};
use super::prepared_workspace::{Overlays, Views};
use super::{Backend, BackendInput, Effect, host_tree, prepared_workspace, provision, sidecar_programs, spec};
use crate::error::{Error, Result};
use crate::manifest::model::WorkspaceMode;
use crate::plan::{Dialler, Plan, SidecarPlan, Step};
use crate::store::{Claim, Object};
use crate::values;
use cgroup::Hierarchy;

/// One bottle under this backend.
pub struct Embedded<'p> {
    plan: &'p Plan,
    values: values::Values,
    window: (u16, u16),
    operator: (u32, u32),
    hierarchy: Hierarchy,
    groups: Vec<PathBuf>,
    own_executable: OwnedFd,
    agent_ca: String,
    views: Views,
    left_out: Vec<String>,
    image: Option<PathBuf>,
    listeners: BTreeMap<(String, String), OwnedFd>,
    awaited: Vec<(String, String)>,
}

impl<'p> Embedded<'p> {
    /// For one start.
    pub fn new(plan: &'p Plan, values: BackendInput) -> Result<Self> {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let own_executable = rustix::fs::open("/proc/self/exe", flags, rustix::fs::Mode::empty())
            .map_err(|e| Error::failed("cannot find bottle's own program", format!("open /proc/self/exe: {e}"), "mount /proc"))?;
        let operator = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let awaited = plan
            .sidecars
            .iter()
            .flat_map(|s| s.listeners.iter().map(move |l| (s, l)))
            .filter(|(_, l)| matches!(l.dialled_by, Dialler::Agent(_)))
            .map(|(s, l)| (s.component.clone(), l.name.clone()))
            .collect();
        Ok(Self {
            plan,
            values: values.values,
            window: values.window,
            operator,
            hierarchy: Hierarchy::find(),
            groups: Vec::new(),
            own_executable,
            agent_ca: String::new(),
            views: Views::default(),
            left_out: Vec::new(),
            image: values.image,
            listeners: BTreeMap::new(),
            awaited,
        })
    }

    fn ids(&self, component: &str) -> Ids {
        ids::in_plan(self.operator, self.plan, component)
    }

    fn sidecar(&self, component: &str) -> Result<&'p SidecarPlan> {
        provision::sidecar(self.plan, component)
    }

    fn cage(&mut self, claim: &mut Claim) -> Result<Effect> {
        let ports = self.plan.sidecars.iter().flat_map(|s| &s.listeners).filter_map(|l| match l.dialled_by {
            Dialler::Agent(port) => Some(port),
            Dialler::Siblings(_) => None,
        });
        let host = host_tree::read();
        let facts = root::AgentFacts { host: &host, ca_pem: &self.agent_ca, views: &self.views };
        let mut spec = spec::agent(self.plan, &self.values, self.window, Surroundings::Fresh);
        spec.listen = ports.collect();
        spec.image = self.image.clone().map(Source::Path);
        spec.mounts = root::agent(self.plan, &facts);
        spec.renames_directories = spec.mounts.iter().any(|mount| matches!(mount, Mount::Overlay { .. }));
        spec.rlimits.push((libc::RLIMIT_NPROC, self.plan.limits.pids));
        let ids = self.ids("agent");
        let mut fds = sources::detach(&mut spec, ids)?;
        let process = process::start_agent(&mut spec, &mut fds, ids, self.own_executable.as_fd(), &self.groups, claim)?;
        Ok(if spec.listen.is_empty() { Effect::Spawned(process) } else { Effect::SpawnedThenListeners(process) })
    }

    fn start_sidecar(&mut self, sidecar: &SidecarPlan, claim: &mut Claim) -> Result<Effect> {
        let names: Vec<&str> = sidecar.listeners.iter().map(|l| l.name.as_str()).collect();
        let mut listeners = Vec::new();
        for name in &names {
            let key = (sidecar.component.clone(), (*name).to_owned());
            let socket = self.listeners.remove(&key).ok_or_else(|| {
                Error::failed(
                    format!("`{}` has no socket `{name}`", sidecar.component),
                    "it was not opened",
                    "this is a bug in bottle: please report it",
                )
            })?;
            listeners.push(socket);
        }
        let resolution = if sidecar.host_resolution { provision::resolution() } else { Vec::new() };
        let program = sidecar_programs::find(&sidecar.component)?;
        let runtime = claim.runtime()?.path().to_owned();
        let handed = bottle_contract::handoff::environment(&names, 1);
        let mut spec = spec::sidecar(sidecar, sidecar_programs::file_name(&sidecar.component), handed, Surroundings::Fresh);
        spec.mounts = root::sidecar(sidecar, &runtime, &resolution);
        let ids = self.ids(&sidecar.component);
        let mut fds = sources::detach(&mut spec, ids)?;
        process::start_sidecar(&mut spec, &mut fds, program, listeners, ids, self.own_executable.as_fd(), claim).map(Effect::Spawned)
    }

    fn authority(&mut self, component: &str, claim: &Claim) -> Result<()> {
        let certificate = provision::authority(component, &self.plan.id, claim, self.ids(component))?;
        if self.plan.agent.trusts == component {
            self.agent_ca = certificate;
        }
        Ok(())
    }

    fn workspace(&mut self, claim: &mut Claim) -> Result<()> {
        let plan = &self.plan.workspace;
        let overlays = Overlays { tree: true, git: plan.mode != WorkspaceMode::Copy };
        let (views, left_out) = prepared_workspace::make(plan, overlays, None, claim)?;
        self.views = views;
        self.left_out.extend(left_out);
        Ok(())
    }

    fn limits(&mut self, claim: &mut Claim) -> Result<()> {
        self.groups = self.hierarchy.groups(&self.plan.id);
        for group in &self.groups {
            claim.record(Object::Cgroup(group.clone()))?;
        }
        let limits = &self.plan.limits;
        cgroup::make(&self.groups, limits.memory, limits.pids).map_err(|e| {
            Error::failed("cannot limit the agent", format!("control group: {e}"), "`bottle doctor` shows what this host allows")
        })
    }

    fn listen(&mut self, component: &str, dialler: &Dialler, claim: &Claim) -> Result<()> {
        let Dialler::Siblings(socket) = dialler else { return Ok(()) };
        let link = claim.runtime()?.subdir("link")?;
        let listener = provision::unix_listener(&link, socket, self.ids(component).foreign)?;
        let sidecar = self.sidecar(component)?;
        let name = sidecar.listeners.iter().find(|l| l.dialled_by == *dialler).map(|l| l.name.clone()).unwrap_or_default();
        self.listeners.insert((component.to_owned(), name), listener);
        Ok(())
    }
}

impl Backend for Embedded<'_> {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn check(&self) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        for sidecar in &self.plan.sidecars {
            sidecar_programs::find(&sidecar.component)?;
        }
        if self.hierarchy == Hierarchy::Missing {
            if self.plan.limits.memory_is_required {
                return Err(Error::failed(
                    "this host does not let bottle limit memory",
                    "no control group that this user may write",
                    "run it in a delegated group (`systemd-run --user --scope bottle …`), or remove `limits.memory` from the manifest",
                ));
            }
            notes.push("memory is not limited: this host delegates no control group".to_owned());
        }
        Ok(notes)
    }

    fn apply(&mut self, step: &Step, claim: &mut Claim) -> Result<Effect> {
        match step {
            Step::RuntimeDirectory => claim.runtime().map(drop)?,
            Step::Authority(component) => self.authority(component, claim)?,
            Step::Configuration(component) => provision::configuration(self.sidecar(component)?, &self.values, claim, self.ids(component))?,
            Step::Secrets(component, _) => provision::secrets(self.sidecar(component)?, &self.values, claim, self.ids(component))?,
            Step::Workspace(_) => self.workspace(claim)?,
            Step::Limits => self.limits(claim)?,
            Step::Cage => return self.cage(claim),
            Step::Listen(component, dialler) => self.listen(component, dialler, claim)?,
            Step::Sidecar(component) => return self.start_sidecar(self.sidecar(component)?, claim),
            Step::Release => {}
        }
        Ok(Effect::Done)
    }

    fn resume(&mut self, _claim: &mut Claim) -> Result<Effect> {
        Err(Error::failed("the start cannot go on", "no step of this backend waits", "this is a bug in bottle: please report it"))
    }

    fn pending_error(&mut self) -> Option<Error> {
        None
    }

    fn listeners(&mut self, sockets: Vec<OwnedFd>) -> Result<()> {
        if sockets.len() != self.awaited.len() {
            let cause = format!("{} were expected, {} came", self.awaited.len(), sockets.len());
            return Err(Error::failed("the agent's network did not open its sockets", cause, "this is a bug in bottle: please report it"));
        }
        self.listeners.extend(self.awaited.drain(..).zip(sockets));
        Ok(())
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.left_out)
    }

    fn released(&mut self) {
        self.values = values::Values::nothing();
    }

    fn undo(&mut self, claim: &mut Claim) -> Vec<Error> {
        self.listeners.clear();
        super::undo::objects(claim, super::undo::Directory::Kept)
    }
}
