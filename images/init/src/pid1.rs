//! Pid 1 of an agent's bottle: it starts the agent, reaps whatever is orphaned, forwards signals, and reports.
//!
//! When it ends, the kernel ends every process of the namespace: there is no list to keep and nothing to miss.

use std::io::{Read, Write};
use std::os::fd::AsFd;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, WaitOptions, wait};

use crate::control::{Channel, FromInit, ToInit};
use crate::exec::Program;
use crate::spec::Failure;
use crate::sys;

/// Waits for the start, runs the program to its end, and reports how it ended.
pub(crate) fn run(channel: &Channel, program: Program) -> Result<u8, Failure> {
    let told = |e: std::io::Error| Failure::new("talk to the supervisor", e);
    channel.send(&FromInit::Prepared).map_err(told)?;
    match channel.receive::<ToInit>() {
        Ok((ToInit::Start, _)) => {}
        // The start was called off.
        _ => return Ok(0),
    }
    let children = child_signals()?;
    let agent = match start(program)? {
        Ok(agent) => agent,
        Err(errno) => {
            channel.send(&FromInit::NotExecuted(errno)).map_err(told)?;
            return Ok(0);
        }
    };
    loop {
        let mut fds = [PollFd::new(channel, PollFlags::IN), PollFd::new(&children, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Failure::new("wait for the agent", e)),
        }
        let (asked, reaped) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if reaped {
            // Signals coalesce; `reap` looks at everyone.
            let _ = children.read_signal();
            if let Some(end) = reap(agent) {
                channel.send(&end).map_err(told)?;
                return Ok(0);
            }
        }
        if asked {
            match channel.receive::<ToInit>() {
                // The group may be gone already; its end is reported above.
                Ok((ToInit::Signal(signal), _)) => drop(sys::signal_group(agent, signal)),
                Ok(_) => {}
                // The supervisor is gone: so is this bottle.
                Err(_) => return Ok(125),
            }
        }
    }
}

fn child_signals() -> Result<SignalFd, Failure> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().map_err(|e| Failure::new("block the child signal", e))?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC).map_err(|e| Failure::new("watch for children", e))
}

/// Starts the agent in a session of its own; the inner error is the number that `execve` gave.
fn start(program: Program) -> Result<Result<Pid, i32>, Failure> {
    let failed = |e: std::io::Error| Failure::new("start the agent", e);
    let (mut errors, mut report) = std::io::pipe().map_err(failed)?;
    let Some(agent) = sys::fork().map_err(failed)? else {
        let _ = rustix::process::setsid();
        let high = rustix::io::fcntl_dupfd_cloexec(report.as_fd(), 256);
        let errno = program.execute().raw_os_error().unwrap_or(libc::EIO);
        if let Ok(high) = high {
            let _ = std::fs::File::from(high).write_all(&errno.to_ne_bytes());
        }
        std::process::exit(127);
    };
    drop(program);
    let _ = report.flush();
    drop(report);
    let mut number = [0; 4];
    // The other end closes on a successful `execve`, without a byte.
    match errors.read_exact(&mut number) {
        Ok(()) => Ok(Err(i32::from_ne_bytes(number))),
        Err(_) => Ok(Ok(agent)),
    }
}

/// Reaps everyone that ended; the agent's own end is what matters. The numbers are taken as the kernel gives them: a
/// real-time signal has no name.
fn reap(agent: Pid) -> Option<FromInit> {
    let mut end = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid != agent {
            continue;
        }
        end = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Some(FromInit::Exited(u8::try_from(code & 0xff).unwrap_or(u8::MAX))),
            (None, Some(signal)) => Some(FromInit::Signaled(signal)),
            (None, None) => end,
        };
    }
    end
}
