//! One piece: its descriptors, its files on the host, its start and its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use bottle_init::spec::Spec;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{cgroup, spawn};
use crate::backend::Cell;
use crate::backend::ids::Ids;
use crate::error::{Error, Result};
use crate::store::{Claim, Object};

fn failed(piece: &str, what: &str) -> impl Fn(io::Error) -> Error + use<> {
    let what = format!("cannot start `{piece}`: {what}");
    move |error| Error::failed(&what, error, "`bottle doctor` shows what this host allows")
}

/// A pipe whose ends are not inherited.
pub(in crate::backend) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// Numbers descriptors behind those that are there, from 1 on.
pub(in crate::backend) fn add(fds: &mut Vec<OwnedFd>, fd: OwnedFd) -> usize {
    fds.push(fd);
    fds.len()
}

/// Starts the agent's first process.
pub(super) fn start_agent(
    spec: &mut Spec,
    fds: &mut Vec<OwnedFd>,
    ids: Ids,
    own: BorrowedFd<'_>,
    groups: &[PathBuf],
    claim: &mut Claim,
) -> Result<Cell> {
    let fail = failed("agent", "make its pipes");
    let mut outputs = Vec::new();
    let mut input = None;
    if !spec.terminal {
        let (input_theirs, input_ours) = pipe().map_err(&fail)?;
        let (stdout_ours, stdout_theirs) = pipe().map_err(&fail)?;
        let (stderr_ours, stderr_theirs) = pipe().map_err(&fail)?;
        spec.stdio_fds = [add(fds, input_theirs), add(fds, stdout_theirs), add(fds, stderr_theirs)];
        outputs = vec![("stdout", stdout_ours), ("stderr", stderr_ours)];
        input = Some(input_ours);
    }
    let entrances = cgroup::entrances(groups).map_err(failed("agent", "open its control groups"))?;
    spec.group_fds = entrances.into_iter().map(|fd| add(fds, fd)).collect();
    start(spec, fds, ids, own, claim, outputs, input, None)
}

/// Starts a sidecar.
pub(super) fn start_sidecar(
    spec: &mut Spec,
    fds: &mut Vec<OwnedFd>,
    program: OwnedFd,
    listeners: Vec<OwnedFd>,
    ids: Ids,
    own: BorrowedFd<'_>,
    claim: &mut Claim,
) -> Result<Cell> {
    let fail = failed(&spec.piece, "make its pipes");
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|e| fail(e.into()))?;
    let (log_ours, log_theirs) = pipe().map_err(&fail)?;
    let (ready_ours, ready_theirs) = pipe().map_err(&fail)?;
    let null = add(fds, null);
    let log = add(fds, log_theirs);
    spec.stdio_fds = [null, log, log];
    spec.exec.program_fd = Some(add(fds, program));
    spec.passed_fds = listeners.into_iter().map(|fd| add(fds, fd)).collect();
    spec.passed_fds.push(add(fds, ready_theirs));
    start(spec, fds, ids, own, claim, vec![("stderr", log_ours)], None, Some(ready_ours))
}

#[expect(clippy::too_many_arguments, reason = "the two callers above are its only use; each argument is one descriptor or fact")]
fn start(
    spec: &Spec,
    fds: &[OwnedFd],
    ids: Ids,
    own: BorrowedFd<'_>,
    claim: &mut Claim,
    outputs: Vec<(&'static str, OwnedFd)>,
    input: Option<OwnedFd>,
    ready: Option<OwnedFd>,
) -> Result<Cell> {
    let spawned = spawn::spawn(own, ids, !spec.own_network).map_err(failed(&spec.piece, "make its namespaces"))?;
    let pid = spawned.pid.as_raw_nonzero().get().unsigned_abs();
    let start_time = crate::store::start_time(pid).unwrap_or_default();
    claim.record(Object::Process { piece: spec.piece.clone(), pid, start_time })?;
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    spawn::set_up(&spawned, spec, &borrowed).map_err(failed(&spec.piece, "tell it what to do"))?;
    Ok(Cell {
        piece: spec.piece.clone(),
        pid: spawned.pid,
        pidfd: spawned.pidfd,
        control: spawned.control,
        held: false,
        outputs,
        input,
        ready,
    })
}

/// Ends a process that a supervisor left, if it is still the same one.
pub(in crate::backend) fn end(pid: u32, start_time: u64) -> Result<()> {
    let Some(number) = i32::try_from(pid).ok().filter(|n| *n > 1).and_then(rustix::process::Pid::from_raw) else { return Ok(()) };
    let Ok(pidfd) = pidfd_open(number, PidfdFlags::empty()) else { return Ok(()) };
    // The descriptor names whoever has the number now; only then is it looked at.
    if crate::store::start_time(pid) != Some(start_time) {
        return Ok(());
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => Err(Error::failed(format!("cannot end process {pid}"), e, "`bottle cleanup` tries again")),
    }
}
