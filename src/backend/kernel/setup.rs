//! The first message to a component's first process: its specification, in memory, and the descriptors that it names by number.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bottle_init::control::{Channel, ToInit};
use bottle_init::spec::Spec;
use rustix::fs::{MemfdFlags, memfd_create};

/// Sends a specification. Descriptor 0 is the specification itself; `fds` are numbered from 1.
pub(in crate::backend) fn send(control: &Channel, spec: &Spec, fds: &[OwnedFd]) -> io::Result<()> {
    let mut file = File::from(memfd_create("specification", MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(spec)?)?;
    let all: Vec<BorrowedFd<'_>> = [file.as_fd()].into_iter().chain(fds.iter().map(AsFd::as_fd)).collect();
    control.send_with(&ToInit::Setup, &all)
}
