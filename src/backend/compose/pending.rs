//! A container whose first process is awaited, and what that is told once it is there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use bottle_init::spec::{Mount, Spec, Surroundings};

use super::join::{Awaited, Joined};
use super::objects::{ENGINE_HINT, failed_at};
use crate::backend::ids::Ids;
use crate::backend::kernel::setup;
use crate::backend::{Effect, Listener, Process, Resume, Start, Stdio, provision, sidecar_programs, spec};
use crate::error::{Error, Result};
use crate::plan::agent::AGENT;
use crate::plan::{Dialler, SidecarPlan};

/// A container's first process has not connected yet.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) component: String,
    pub(super) awaited: Awaited,
    pub(super) ids: Ids,
    /// Where the component is in the network that it shares with the agent.
    pub(super) address: Ipv4Addr,
    /// The agent works on an overlay.
    pub(super) renames_directories: bool,
}

impl Joining {
    /// Waits for it.
    pub(super) fn wait(self) -> Result<Effect> {
        let fd = self.awaited.fd().try_clone_to_owned().map_err(failed_at("cannot wait for a container"))?;
        Ok(Effect::Pending(fd, Box::new(self)))
    }
}

impl Resume for Joining {
    fn resume(self: Box<Self>, start: &mut Start<'_>) -> Result<Effect> {
        let Self { component, awaited, ids, address, renames_directories } = *self;
        let Joined { pid, pidfd, control } = awaited.accept(&component, ids)?;
        let failed = failed_at(&format!("cannot tell `{component}` what to do"));
        let (spec, fds, stdio) = if component == AGENT {
            agent(start, renames_directories).map_err(&failed)?
        } else {
            let sidecar = provision::sidecar(start.plan, &component)?;
            let listeners = Listeners::of(sidecar, address, start)?;
            listeners.spec(sidecar).map_err(&failed)?
        };
        setup::send(&control, &spec, &fds).map_err(&failed)?;
        Ok(Effect::Spawned(Process { component, pid, pidfd, control, held: true, stdio, opens: Vec::new() }))
    }

    fn overdue(&self) -> Error {
        let what = format!("the container of `{}` did not call in time", self.component);
        Error::failed(what, "it runs, and has not connected", ENGINE_HINT)
    }
}

/// A specification, the descriptors that it names, and our ends of them.
type Specified = (Spec, Vec<OwnedFd>, Stdio);

fn agent(start: &Start<'_>, renames_directories: bool) -> io::Result<Specified> {
    let plan = start.plan;
    let mut fds = Vec::new();
    let mut spec = spec::agent(plan, &start.input.values, start.input.window, container(Vec::new()));
    let stdio = Stdio::of_agent(&mut spec, &mut fds)?;
    let links = plan.agent.links.iter().map(|(target, to)| Mount::Symlink { to: to.clone(), target: target.clone() });
    let files = plan.agent.files.iter().map(|(target, text)| Mount::File { target: target.clone(), text: text.clone(), mode: 0o600 });
    spec.mounts = links.chain(files).collect();
    spec.renames_directories = renames_directories;
    Ok((spec, fds, stdio))
}

/// The sockets of a sidecar. Those that the agent dials its first process opens, the others are passed to it.
struct Listeners {
    bind: Vec<SocketAddr>,
    passed: Vec<OwnedFd>,
    /// In the order of the sidecar's descriptors: what the first process opens comes before what it is passed.
    names: Vec<String>,
}

impl Listeners {
    fn of(sidecar: &SidecarPlan, address: Ipv4Addr, start: &mut Start<'_>) -> Result<Self> {
        let (mut bind, mut passed, mut opened_names, mut passed_names) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for listener in &sidecar.listeners {
            match &listener.dialled_by {
                Dialler::Agent(port) => {
                    opened_names.push(listener.name.clone());
                    bind.push(SocketAddr::new(IpAddr::V4(address), *port));
                }
                // No process in the agent's container may make addresses local: a plan for an engine has none of these.
                Dialler::Direct(_) => {}
                Dialler::Siblings(_) | Dialler::Supervisor => {
                    passed_names.push(listener.name.clone());
                    passed.push(start.products.take(&Listener::new(sidecar, &listener.name))?);
                }
            }
        }
        Ok(Self { bind, passed, names: [opened_names, passed_names].concat() })
    }

    fn spec(self, sidecar: &SidecarPlan) -> io::Result<Specified> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        // It is not the first process, and cannot know its number.
        let mut handed = bottle_contract::handoff::environment(&names, 0);
        handed.retain(|(name, _)| name != "LISTEN_PID");
        let program = format!("/{}", sidecar_programs::file_name(&sidecar.component));
        let mut spec = spec::sidecar(sidecar, program, handed, container(self.bind));
        let mut fds = Vec::new();
        let stdio = Stdio::of_sidecar(&mut spec, &mut fds, self.passed)?;
        Ok((spec, fds, stdio))
    }
}

/// The engine has made the namespaces, and put the component into control groups.
fn container(bind: Vec<SocketAddr>) -> Surroundings {
    Surroundings::Container { bind }
}
