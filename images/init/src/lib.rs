//! The inside of a bottle: what happens between `clone` and the first instruction of an agent or sidecar.
//!
//! The supervisor starts its own executable again in fresh namespaces, with nothing but a control socket, and sends
//! a [`spec::Spec`]. The order below is the order of effects, and it matters:
//!
//! 1. listening sockets, while this process may still bring `lo` up, so that whoever serves them can start early;
//! 2. the root file system, then `pivot_root`: from here on the host's tree is out of reach;
//! 3. the terminal, from the bottle's own devpts;
//! 4. resource limits, no new privileges, capabilities, landlock, and the system call filter last;
//! 5. a sidecar is executed in place; for an agent this process stays as pid 1 and starts it as its child.
//!
//! In a container of the compose backend the engine has done the first three: see [`join`].
//!
//! Absent on purpose: routes to anywhere (there is no device but `lo`), a user database look-up (numbers
//! only), and any way back.

mod caller;
mod container;
pub mod control;
mod copy_tree;
mod exec;
pub mod host_path;
mod landlock_rules;
mod modes;
mod moves;
mod netlink;
mod network;
mod notify;
mod pid1;
mod privileges;
mod refusal_filter;
pub mod root;
mod seccomp;
mod shown;
mod socket_rules;
mod sockets;
pub mod spec;
pub mod sys;
mod terminal;
mod watched;

use std::os::fd::OwnedFd;

use control::{Channel, FromInit, ToInit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use spec::{Failure, SeccompProfile, Spec, Surroundings, UnixSockets};

/// The descriptor on which the control socket is handed over.
pub const CONTROL_FD: i32 = 3;
/// The name under which the executable starts itself as the inside half.
pub const ARGV0: &str = "bottle-init";

/// The first argument of pid 1 of a container; the second is the socket.
pub const JOIN: &str = "join";

/// What an agent's files are not open to, as on most systems.
const UMASK: u32 = 0o022;
/// Bytes of an agent's `/dev/shm`, in every backend.
pub const SHM_BYTES: u64 = 256 << 20;

/// Runs the inside half on a control socket; returns only the exit code of this process.
pub fn main(control: OwnedFd) -> u8 {
    // The operator's mask must not make a file of the bottle's root unreadable, nor reach the agent.
    let _ = rustix::process::umask(UMASK.into());
    // The program's own descriptors will be placed over the low numbers.
    let Ok(control) = rustix::io::fcntl_dupfd_cloexec(&control, exec::WORK_FDS) else { return 125 };
    let channel = Channel::new(control);
    match run(&channel) {
        Ok(code) => code,
        Err(failure) => {
            // The supervisor may be gone; there is nobody else to tell.
            let _ = channel.send(&FromInit::Failed(failure));
            125
        }
    }
}

/// Runs the inside half as pid 1 of a container: the supervisor waits on a socket in a directory that only this container sees. The
/// connection is more than a way to talk: when the supervisor ends, so does it, and with it this process and its container.
pub fn join(socket: &std::path::Path) -> u8 {
    match container::connect(socket) {
        Ok(control) => main(control),
        Err(error) => {
            // The engine keeps this as the container's last words.
            let _ =
                std::io::Write::write_all(&mut std::io::stderr(), format!("no supervisor at {}: {error}\n", socket.display()).as_bytes());
            125
        }
    }
}

/// An error if the supervisor has ended: its pidfd can be read then. The control socket hangs up a moment earlier, before the kernel looks
/// for whom to signal.
fn find_supervisor(channel: &Channel, spec: &Spec, fds: &mut [Option<OwnedFd>]) -> Result<(), Failure> {
    let Some(index) = spec.supervisor_fd else { return Ok(()) };
    let pidfd = spec::take_fd(fds, index)?;
    let mut asked = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(channel, PollFlags::empty())];
    match retry_on_intr(|| poll(&mut asked, Some(&Timespec::default()))) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Failure::new("find its supervisor", "it has ended")),
        Err(error) => Err(Failure::new("find its supervisor", error)),
    }
}

fn run(channel: &Channel) -> Result<u8, Failure> {
    let (message, mut fds) = channel.receive::<ToInit>().map_err(|e| Failure::new("receive the specification", e))?;
    let ToInit::Setup = message else {
        return Err(Failure::new("receive the specification", "another message came first"));
    };
    let spec = Spec::take(&mut fds)?;
    if let Surroundings::Container { bind } = &spec.surroundings {
        return container::run(channel, &spec, bind, fds);
    }
    sys::die_with_parent().map_err(|e| Failure::new("bind this process to its supervisor", e))?;
    exec::take_stdio(&spec, &mut fds)?;
    if spec.own_network {
        let listeners = network::open(&spec)?;
        channel.send_with(&FromInit::Listeners, &listeners).map_err(|e| Failure::new("hand over the listeners", e))?;
    }
    // After the listeners, so that whoever serves them starts meanwhile: the kernel may take its time to move a process.
    exec::enter_groups(&spec, &mut fds)?;
    // From here on its groups are the top of what it sees.
    sys::own_cgroup_namespace().map_err(|e| Failure::new("make a cgroup namespace", e))?;
    rustix::system::sethostname(spec.hostname.as_bytes()).map_err(|e| Failure::new("set the host name", e))?;
    let is_bare = root::build(&spec, &fds)?;
    let sockets = if is_bare && spec.sockets == UnixSockets::All { UnixSockets::Judged } else { spec.sockets };
    let judges = sockets == UnixSockets::Judged;
    let terminal = if spec.terminal { Some(terminal::open_for(channel, &spec)?) } else { None };
    privileges::drop_all(&spec, judges)?;
    // From the line above on this process is killed with its supervisor, unless that had ended before.
    find_supervisor(channel, &spec, &mut fds)?;
    landlock_rules::restrict(&spec, &fds)?;
    let watch = watched::Watch::of(&spec, sockets);
    if watch.is_needed() {
        seccomp::install(SeccompProfile::Judge, UnixSockets::All)?;
    } else {
        seccomp::install(spec.seccomp, sockets)?;
    }
    let program = exec::Program::prepare(&spec, &mut fds, terminal)?;
    match spec.mode {
        spec::Mode::Sidecar => {
            drop(fds);
            let error = program.execute();
            Err(Failure::new("execute the sidecar", error))
        }
        spec::Mode::Agent => {
            drop(fds);
            agent(channel, &spec, program, watch, sockets)
        }
    }
}

/// Starts an agent's program; what the kernel does not answer to it, this process does.
fn agent(channel: &Channel, spec: &Spec, program: exec::Program, watch: watched::Watch, sockets: UnixSockets) -> Result<u8, Failure> {
    if !watch.is_needed() {
        return pid1::run(channel, pid1::Child { program, starts_when_told: true, confine: None, judged: None, words: None });
    }
    let (ours, theirs) = control::pair().map_err(|e| Failure::new("prepare to answer for the kernel", e))?;
    let confine = || watched::hand_over(&theirs, watch, spec.seccomp, sockets);
    pid1::run(channel, pid1::Child { program, starts_when_told: true, confine: Some(&confine), judged: Some(ours), words: None })
}
