//! One component: its descriptors, its files on the host, its start and its end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use bottle_init::spec::Spec;
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use super::spawn::{self, Spawned};
use crate::backend::Process;
use crate::backend::ids::Ids;
use crate::backend::kernel::{cgroup, setup};
use crate::backend::stdio::{Stdio, add};
use crate::error::{Error, Result};
use crate::store::{Claim, Object};

fn failed(component: &str, what: &str) -> impl Fn(io::Error) -> Error + use<> {
    let what = format!("cannot start `{component}`: {what}");
    move |error| Error::failed(&what, error, "`bottle doctor` shows what this host allows")
}

/// Starts the agent's first process.
pub(super) fn start_agent(spec: &mut Spec, fds: &mut Vec<OwnedFd>, ids: Ids, groups: &[PathBuf], claim: &mut Claim) -> Result<Process> {
    let stdio = Stdio::of_agent(spec, fds).map_err(failed("agent", "make its pipes"))?;
    let entrances = cgroup::entrances(groups).map_err(failed("agent", "open its control groups"))?;
    spec.group_fds = entrances.into_iter().map(|fd| add(fds, fd)).collect();
    start(spec, fds, ids, claim, stdio)
}

/// Starts a sidecar.
pub(super) fn start_sidecar(
    spec: &mut Spec,
    fds: &mut Vec<OwnedFd>,
    program: OwnedFd,
    listeners: Vec<OwnedFd>,
    ids: Ids,
    claim: &mut Claim,
) -> Result<Process> {
    let stdio = Stdio::of_sidecar(spec, fds, listeners).map_err(failed(&spec.component, "make its pipes"))?;
    spec.exec.program_fd = Some(add(fds, program));
    start(spec, fds, ids, claim, stdio)
}

fn start(spec: &mut Spec, fds: &mut Vec<OwnedFd>, ids: Ids, claim: &mut Claim, stdio: Stdio) -> Result<Process> {
    let supervisor = pidfd_open(getpid(), PidfdFlags::empty()).map_err(|e| failed(&spec.component, "name this process to it")(e.into()))?;
    spec.supervisor_fd = Some(add(fds, supervisor));
    let own = own_executable()?;
    let Spawned { pid, pidfd, control } =
        spawn::spawn(own.as_fd(), ids, !spec.own_network).map_err(failed(&spec.component, "make its namespaces"))?;
    let number = pid.as_raw_nonzero().get().unsigned_abs();
    let start_time = crate::store::start_time(number).unwrap_or_default();
    claim.record(Object::Process { component: spec.component.clone(), pid: number, start_time })?;
    setup::send(&control, spec, fds).map_err(failed(&spec.component, "tell it what to do"))?;
    Ok(Process { component: spec.component.clone(), pid, pidfd, control, held: false, stdio, opens: Vec::new() })
}

/// The program that runs here, even if its file was replaced since.
fn own_executable() -> Result<OwnedFd> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open("/proc/self/exe", flags, rustix::fs::Mode::empty())
        .map_err(|e| Error::failed("cannot find bottle's own program", format!("open /proc/self/exe: {e}"), "mount /proc"))
}
