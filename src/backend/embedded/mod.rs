//! The embedded backend: namespaces, no daemon, no root, nothing to install.
//!
//! The agent's network namespace holds only `lo`. The sockets on it are opened by the agent's own first process,
//! before it gives up its privileges, and handed to the sidecars that serve them: so `egress:9099` answers inside,
//! though no packet can leave.

pub mod process;
pub mod root;
mod sources;
pub mod spawn;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use bottle_contract::local;
use bottle_init::spec::{Mount, Socket, Source, Surroundings};

use super::ids::{self, Ids};
use super::kernel::cgroup::{self, Hierarchy};
use super::prepared_workspace::{Overlays, Views};
use super::{Backend, Effect, Listener, Logs, Process, Start, host_tree, kernel, prepared_workspace, provision, sidecar_programs, spec};
use crate::error::{Error, Result};
use crate::manifest::model::WorkspaceMode;
use crate::plan::agent::AGENT;
use crate::plan::{Dialler, Direct, Plan, SidecarPlan, Step};
use crate::store::{Claim, Object};

/// One bottle under this backend.
#[derive(Debug)]
pub struct Embedded {
    operator: (u32, u32),
    hierarchy: Hierarchy,
    groups: Vec<PathBuf>,
    /// Where the agent's changes go, or its copies.
    views: Views,
}

impl Embedded {
    /// Looks at what the host lets this process limit.
    pub fn new() -> Self {
        Self { operator: ids::operator(), hierarchy: Hierarchy::find(), groups: Vec::new(), views: Views::default() }
    }

    fn ids(&self, plan: &Plan, component: &str) -> Ids {
        ids::in_plan(self.operator, plan, component)
    }

    fn workspace(&mut self, start: &mut Start<'_>) -> Result<Vec<String>> {
        let plan = &start.plan.workspace;
        let overlays = Overlays { tree: true, git: plan.mode != WorkspaceMode::Copy };
        let (views, left_out) = prepared_workspace::make(plan, overlays, None, start.claim)?;
        self.views = views;
        Ok(left_out)
    }

    fn limits(&mut self, start: &mut Start<'_>) -> Result<()> {
        self.groups = self.hierarchy.groups(&start.plan.id);
        for group in &self.groups {
            start.claim.record(Object::Cgroup(group.clone()))?;
        }
        let limits = &start.plan.limits;
        cgroup::make(&self.groups, limits.memory, limits.pids).map_err(|e| {
            Error::failed("cannot limit the agent", format!("control group: {e}"), "`bottle doctor` shows what this host allows")
        })
    }

    /// The agent's namespaces. Its first process opens the ports of its network, which the sidecars are to serve.
    fn cage(&self, start: &mut Start<'_>) -> Result<Process> {
        let plan = start.plan;
        let (listeners, sockets) = dialled_by_agent(plan);
        let host = host_tree::read();
        let facts = root::AgentFacts { host: &host, ca_pem: &start.products.agent_ca, views: &self.views };
        let mut spec = spec::agent(plan, &start.input.values, start.input.window, Surroundings::Fresh);
        spec.local = if plan.has_local_names() { LOCAL.to_vec() } else { Vec::new() };
        spec.listen = sockets;
        spec.image = start.input.images.root.clone().map(Source::Path);
        spec.mounts = root::agent(plan, &facts);
        spec.renames_directories = spec.mounts.iter().any(|mount| matches!(mount, Mount::Overlay { .. }));
        spec.rlimits.push((libc::RLIMIT_NPROC, plan.limits.pids));
        let ids = self.ids(plan, AGENT);
        let mut fds = sources::detach(&mut spec, ids)?;
        let process = process::start_agent(&mut spec, &mut fds, ids, &self.groups, start.claim)?;
        Ok(Process { opens: listeners, ..process })
    }

    fn sidecar(&self, sidecar: &SidecarPlan, start: &mut Start<'_>) -> Result<Process> {
        let names: Vec<&str> = sidecar.listeners.iter().map(|l| l.name.as_str()).collect();
        let sockets = names.iter().map(|name| start.products.take(&Listener::new(sidecar, name))).collect::<Result<Vec<_>>>()?;
        let resolution = if sidecar.host_resolution { provision::resolution() } else { Vec::new() };
        let program = sidecar_programs::find(&sidecar.component)?;
        let handed = bottle_contract::handoff::environment(&names, 1);
        let mut spec = spec::sidecar(sidecar, sidecar_programs::file_name(&sidecar.component), handed, Surroundings::Fresh);
        spec.mounts = root::sidecar(sidecar, start.claim.runtime()?.path(), &resolution);
        let ids = self.ids(start.plan, &sidecar.component);
        let mut fds = sources::detach(&mut spec, ids)?;
        process::start_sidecar(&mut spec, &mut fds, program, sockets, ids, start.claim)
    }
}

impl Default for Embedded {
    fn default() -> Self {
        Self::new()
    }
}

/// The addresses that names have in the agent's network.
const LOCAL: [(IpAddr, u8); 2] = [(IpAddr::V4(local::V4), local::V4_PREFIX), (IpAddr::V6(local::V6), local::V6_PREFIX)];

/// What the agent dials and who serves it, in the order of the plan.
fn dialled_by_agent(plan: &Plan) -> (Vec<Listener>, Vec<Socket>) {
    let planned = plan.sidecars.iter().flat_map(|sidecar| sidecar.listeners.iter().map(move |listener| (sidecar, listener)));
    let dialled =
        planned.filter_map(|(sidecar, listener)| Some((Listener::new(sidecar, &listener.name), in_agents_network(&listener.dialled_by)?)));
    dialled.unzip()
}

/// A socket in the agent's network, if that is where it is dialled.
fn in_agents_network(dialler: &Dialler) -> Option<Socket> {
    Some(match dialler {
        Dialler::Agent(port) => Socket::Tcp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), *port)),
        Dialler::Direct(Direct::Port(port)) => Socket::TcpEverywhere(*port),
        Dialler::Direct(Direct::ResolverUdp) => Socket::Udp(local::RESOLVER.into()),
        Dialler::Direct(Direct::ResolverTcp) => Socket::Tcp(local::RESOLVER.into()),
        Dialler::Direct(Direct::Refusals) => Socket::Refusals(local::RECORDED_PORTS.to_vec()),
        Dialler::Siblings(_) | Dialler::Supervisor => return None,
    })
}

impl Backend for Embedded {
    fn check(&self, plan: &Plan) -> Result<Vec<String>> {
        for sidecar in &plan.sidecars {
            sidecar_programs::find(&sidecar.component)?;
        }
        if self.hierarchy != Hierarchy::Missing {
            return Ok(Vec::new());
        }
        if plan.limits.memory_is_required {
            return Err(Error::failed(
                "this host does not let bottle limit memory",
                "no control group that this user may write",
                "run it in a delegated group (`systemd-run --user --scope bottle …`), or remove `limits.memory` from the manifest",
            ));
        }
        Ok(vec!["memory is not limited: this host delegates no control group".to_owned()])
    }

    fn apply(&mut self, step: &Step, start: &mut Start<'_>) -> Result<Effect> {
        if provision::apply(step, start, self.operator)? {
            return Ok(Effect::Done(Vec::new()));
        }
        match step {
            Step::Workspace(_) => return self.workspace(start).map(Effect::Done),
            Step::Limits => self.limits(start)?,
            Step::Cage => return self.cage(start).map(Effect::Spawned),
            Step::Sidecar(component) => return self.sidecar(provision::sidecar(start.plan, component)?, start).map(Effect::Spawned),
            // The agent's first process opens its ports. The rest is done for every backend.
            _ => {}
        }
        Ok(Effect::Done(Vec::new()))
    }

    fn undo(&mut self, object: &Object, _claim: &Claim, _logs: Logs) -> Result<()> {
        kernel::undo(object)
    }
}
