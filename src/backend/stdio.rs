//! The pipes between the supervisor and a component: the component's ends go into its specification, the supervisor's ends are watched.

use std::io;
use std::os::fd::OwnedFd;

use bottle_init::spec::Spec;
use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};

/// The supervisor's ends.
#[derive(Debug, Default)]
pub struct Stdio {
    /// What it prints: a name for the log, and the end to read from.
    pub outputs: Vec<(&'static str, OwnedFd)>,
    /// Where its standard input is written to.
    pub input: Option<OwnedFd>,
    /// Where a sidecar reports that it is ready, and then its heartbeats.
    pub ready: Option<OwnedFd>,
}

impl Stdio {
    /// An agent's: three pipes; none if it has a terminal, which its first process opens.
    pub(super) fn of_agent(spec: &mut Spec, fds: &mut Vec<OwnedFd>) -> io::Result<Self> {
        if spec.terminal {
            return Ok(Self::default());
        }
        let (input_theirs, input_ours) = pipe()?;
        let (stdout_ours, stdout_theirs) = pipe()?;
        let (stderr_ours, stderr_theirs) = pipe()?;
        spec.stdio_fds = [add(fds, input_theirs), add(fds, stdout_theirs), add(fds, stderr_theirs)];
        Ok(Self { outputs: vec![("stdout", stdout_ours), ("stderr", stderr_ours)], input: Some(input_ours), ready: None })
    }

    /// A sidecar's: no input, one pipe for both outputs, and a pipe on which it reports that it is ready. That pipe is passed last, after
    /// `listeners`. `fds` are the descriptors that are sent along with `spec`, which refers to them by position.
    pub(super) fn of_sidecar(spec: &mut Spec, fds: &mut Vec<OwnedFd>, listeners: Vec<OwnedFd>) -> io::Result<Self> {
        let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let (log_ours, log_theirs) = pipe()?;
        let (ready_ours, ready_theirs) = pipe()?;
        let (null, log) = (add(fds, null), add(fds, log_theirs));
        spec.stdio_fds = [null, log, log];
        spec.passed_fds = listeners.into_iter().chain([ready_theirs]).map(|fd| add(fds, fd)).collect();
        // The log names one output for both.
        Ok(Self { outputs: vec![("stderr", log_ours)], input: None, ready: Some(ready_ours) })
    }
}

/// Appends a descriptor and returns its number, counted from 1: 0 is the specification itself.
pub(super) fn add(fds: &mut Vec<OwnedFd>, fd: OwnedFd) -> usize {
    fds.push(fd);
    fds.len()
}

/// A pipe whose ends are not inherited: the one to read from, the one to write to.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}
