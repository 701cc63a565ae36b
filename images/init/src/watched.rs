//! The calls of an agent that pid 1 answers instead of the kernel: which they are, how they come here, and who answers each.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::control::Channel;
use crate::moves::{self, Mover};
use crate::notify;
use crate::sockets::{self, Judge};
use crate::spec::{Failure, SeccompProfile, Spec, UnixSockets};
use crate::{modes, privileges, seccomp};

/// What is answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    /// Connections of unix sockets.
    pub(crate) sockets: bool,
    /// Renames of directories.
    pub(crate) renames: bool,
    /// Set-group-id bits.
    pub(crate) modes: bool,
}

impl Watch {
    /// What a specification asks for.
    pub(crate) fn of(spec: &Spec, sockets: UnixSockets) -> Self {
        Self {
            sockets: sockets == UnixSockets::Judged,
            renames: spec.renames_directories,
            modes: spec.seccomp == SeccompProfile::AgentOnHostTree,
        }
    }

    /// True if there is anything to answer.
    pub(crate) fn is_needed(self) -> bool {
        self.sockets || self.renames || self.modes
    }

    fn calls(self) -> Vec<libc::c_long> {
        let mut calls = Vec::new();
        if self.sockets {
            calls.extend(sockets::CALLS);
        }
        if self.renames {
            calls.extend(moves::CALLS);
        }
        if self.modes {
            calls.extend(modes::calls());
        }
        calls
    }
}

/// In the agent's process before it becomes the program: gives up what pid 1 has kept, and hands its calls over to it.
pub(crate) fn hand_over(channel: &Channel, watch: Watch, profile: SeccompProfile, unix: UnixSockets) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::new("let pid 1 answer for the kernel", e);
    if watch.sockets {
        privileges::drop_rest()?;
    }
    seccomp::install(profile, unix)?;
    let (listener, is_patient) = notify::listen(&watch.calls()).map_err(failed)?;
    channel.send_with(&is_patient, &[listener]).map_err(failed)
}

/// Answers the calls of one agent.
#[derive(Debug)]
pub(crate) struct Watched {
    listener: Arc<OwnedFd>,
    judge: Judge,
    mover: Mover,
}

impl Watched {
    /// Answers the calls that wait at this descriptor.
    pub(crate) fn new(listener: OwnedFd, is_patient: bool) -> Self {
        Self { listener: Arc::new(listener), judge: Judge::new(), mover: Mover::new(is_patient) }
    }

    /// Answers the next call; an error means that no more come.
    pub(crate) fn serve(&mut self) -> std::io::Result<()> {
        let Some(call) = notify::receive(self.listener.as_fd())? else { return Ok(()) };
        match call.number {
            number if sockets::CALLS.contains(&number) => self.judge.serve(&self.listener, &call),
            number if moves::CALLS.contains(&number) => self.mover.serve(&self.listener, &call),
            _ => modes::serve(&self.listener, &call),
        }
        Ok(())
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}
