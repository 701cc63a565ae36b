//! The inside half as pid 1 of a container: the engine has made the namespaces and the root and taken the privileges away. What is left
//! is to look whether it did, to open the sockets that a sidecar serves, and to hold the container no longer than the supervisor lives.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr};

use crate::control::Channel;
use crate::spec::{Failure, Mode, SeccompProfile, Spec, UnixSockets};
use crate::watched::Watch;
use crate::{exec, landlock_rules, pid1, privileges, root, seccomp, terminal};

/// Connects to the supervisor.
pub(crate) fn connect(socket: &Path) -> io::Result<OwnedFd> {
    let fd = nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    nix::sys::socket::connect(fd.as_raw_fd(), &UnixAddr::new(socket)?)?;
    Ok(fd)
}

/// Everything from the specification on.
pub(crate) fn run(channel: &Channel, spec: &Spec, bind: &[SocketAddr], mut fds: Vec<Option<OwnedFd>>) -> Result<u8, Failure> {
    // What the engine keeps as the container's log.
    let engine = rustix::io::fcntl_dupfd_cloexec(io::stderr().as_fd(), exec::WORK_FDS).map_err(|e| Failure::new("keep the log", e))?;
    exec::take_stdio(spec, &mut fds)?;
    privileges::verify_none(spec)?;
    if spec.mode == Mode::Agent {
        modes();
    }
    root::furnish(spec)?;
    match spec.mode {
        Mode::Agent => {
            let terminal = if spec.terminal { Some(terminal::open_for(channel, spec)?) } else { None };
            landlock_rules::restrict(spec, &fds)?;
            let watch = Watch::of(spec, spec.sockets);
            let own = if watch.is_needed() { (SeccompProfile::Judge, UnixSockets::All) } else { (spec.seccomp, spec.sockets) };
            seccomp::install(own.0, own.1)?;
            let program = exec::Program::prepare(spec, &mut fds, terminal)?;
            drop(fds);
            crate::agent(channel, spec, program, watch, spec.sockets)
        }
        Mode::Sidecar => {
            let failed = |e: io::Error| Failure::new("prepare the sidecar", e);
            let listeners = bind.iter().map(listen).collect::<Result<Vec<_>, _>>()?;
            let log = fds.get_mut(spec.stdio_fds[2]).and_then(|fd| fd.as_ref()).map(OwnedFd::try_clone);
            let supervisor = log.ok_or_else(|| Failure::new("take over its output", "it did not come"))?.map_err(failed)?;
            let (source, sink) = io::pipe().map_err(failed)?;
            let program = exec::Program::prepare(spec, &mut fds, None)?;
            let output = sink.try_clone().map_err(failed)?.into();
            let program = program.with(output, sink.into(), listeners).map_err(failed)?;
            drop(fds);
            let words = pid1::Words { source, targets: vec![supervisor.into(), engine.into()] };
            // Pid 1 itself must still start a process; the sidecar must not.
            let confine = || landlock_rules::restrict(spec, &[]).and_then(|()| seccomp::install(spec.seccomp, spec.sockets));
            pid1::run(channel, pid1::Child { program, starts_when_told: false, confine: Some(&confine), judged: None, words: Some(words) })
        }
    }
}

/// An engine gives a file system in memory the mode of the image's directory below it. They belong to this user; an image that has none
/// of them is as good.
fn modes() {
    for (directory, mode) in [("/tmp", 0o1777), ("/var/tmp", 0o1777)] {
        let _ = rustix::fs::chmod(directory, rustix::fs::Mode::from_raw_mode(mode));
    }
}

/// Only this address: a sidecar on two networks serves one of them.
fn listen(address: &SocketAddr) -> Result<OwnedFd, Failure> {
    TcpListener::bind(address).map(OwnedFd::from).map_err(|e| Failure::new(format!("listen on {address}"), e))
}
