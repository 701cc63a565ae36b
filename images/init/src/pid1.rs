//! Pid 1 of an agent's bottle, and of each container: it starts the program, reaps whatever is orphaned, forwards signals, and reports.
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
use crate::watched::Watched;

/// What pid 1 starts.
pub(crate) struct Child<'s> {
    /// The program.
    pub(crate) program: Program,
    /// It waits for the supervisor's word.
    pub(crate) starts_when_told: bool,
    /// What the child alone gives up before it becomes the program.
    pub(crate) confine: Option<&'s dyn Fn() -> Result<(), Failure>>,
    /// Where the child hands over the calls that this process answers.
    pub(crate) judged: Option<Channel>,
    /// What the program prints passes through here.
    pub(crate) words: Option<Words>,
}

/// Waits for the start, runs the program to its end, and reports how it ended.
pub(crate) fn run(channel: &Channel, child: Child<'_>) -> Result<u8, Failure> {
    let told = |e: std::io::Error| Failure::new("talk to the supervisor", e);
    let Child { program, starts_when_told, confine, judged, mut words } = child;
    if starts_when_told {
        channel.send(&FromInit::Prepared).map_err(told)?;
        loop {
            match channel.receive::<ToInit>() {
                Ok((ToInit::Start, _)) => break,
                // Nobody is there yet who could get it.
                Ok((ToInit::Signal(_), _)) => {}
                // The start was called off.
                _ => return Ok(0),
            }
        }
    }
    let mut stopped_by_us = false;
    let children = child_signals()?;
    let agent = match start(program, confine)? {
        Ok(agent) => agent,
        Err(errno) => {
            channel.send(&FromInit::NotExecuted(errno)).map_err(told)?;
            return Ok(0);
        }
    };
    let mut judge = judged.map(take_over).transpose()?;
    loop {
        let mut fds = vec![PollFd::new(channel, PollFlags::IN), PollFd::new(&children, PollFlags::IN)];
        fds.extend(words.as_ref().map(|words| PollFd::new(&words.source, PollFlags::IN)));
        let calls = fds.len();
        fds.extend(judge.as_ref().map(|judge| PollFd::new(judge, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Failure::new("wait for the program", e)),
        }
        let is_ready = |index: usize| fds.get(index).is_some_and(|fd: &PollFd<'_>| !fd.revents().is_empty());
        let (asked, reaped, called) = (is_ready(0), is_ready(1), is_ready(calls));
        let spoken = words.is_some() && is_ready(2);
        // The end of the last process that has the filter is not a call, and to ask for one then may take for ever.
        let has_call = fds.get(calls).is_some_and(|fd| fd.revents().contains(PollFlags::IN));
        drop(fds);
        if called && !(has_call && judge.as_mut().is_some_and(|judge| judge.serve().is_ok())) {
            judge = None;
        }
        if spoken && !words.as_mut().is_some_and(Words::pass) {
            words = None;
        }
        if reaped {
            // Signals coalesce; `reap` looks at everyone.
            let _ = children.read_signal();
            let end = reap(agent);
            if let Some(FromInit::Stopped(signal)) = end {
                // Whoever asked for it knows.
                if !stopped_by_us {
                    channel.send(&FromInit::Stopped(signal)).map_err(told)?;
                }
            } else if let Some(end) = end {
                // Its last words are in the pipe, and nobody else has its other end.
                while words.as_mut().is_some_and(Words::pass) {}
                channel.send(&end).map_err(told)?;
                return Ok(0);
            }
        }
        if asked {
            match channel.receive::<ToInit>() {
                Ok((ToInit::Signal(signal), _)) => {
                    stopped_by_us = signal == libc::SIGSTOP || stopped_by_us && signal != libc::SIGCONT;
                    // The group may be gone already; its end is reported above.
                    let _ = sys::signal_group(agent, signal);
                }
                Ok(_) => {}
                // The supervisor is gone: so is this bottle.
                Err(_) => return Ok(125),
            }
        }
    }
}

/// The calls of the child, which it has handed over before it became the program.
fn take_over(judged: Channel) -> Result<Watched, Failure> {
    let failed = |e: std::io::Error| Failure::new("answer for the kernel", e);
    rustix::io::ioctl_fionbio(&judged, true).map_err(|e| failed(e.into()))?;
    let (is_patient, mut fds) = judged.receive::<bool>().map_err(failed)?;
    let listener = fds.pop().flatten().ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    Ok(Watched::new(listener, is_patient))
}

fn child_signals() -> Result<SignalFd, Failure> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().map_err(|e| Failure::new("block the child signal", e))?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC).map_err(|e| Failure::new("watch for children", e))
}

/// What a program prints: to the supervisor first, then to the engine, which may be slow or hang. The program then feels it.
#[derive(Debug)]
pub(crate) struct Words {
    /// Where it comes from.
    pub(crate) source: std::io::PipeReader,
    /// Where it goes.
    pub(crate) targets: Vec<std::fs::File>,
}

impl Words {
    /// Passes on what is there; false at the end.
    fn pass(&mut self) -> bool {
        let mut buffer = [0; 1 << 14];
        match self.source.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                // A reader that is gone misses it, the other does not.
                self.targets.retain_mut(|target| target.write_all(&buffer[..count]).is_ok());
                true
            }
            Err(error) => error.kind() == std::io::ErrorKind::Interrupted,
        }
    }
}

/// Starts the program in a session of its own; the inner error is the number that `execve` gave.
fn start(program: Program, confine: Option<&dyn Fn() -> Result<(), Failure>>) -> Result<Result<Pid, i32>, Failure> {
    let failed = |e: std::io::Error| Failure::new("start the program", e);
    let (mut errors, mut report) = std::io::pipe().map_err(failed)?;
    let Some(agent) = sys::fork().map_err(failed)? else {
        let _ = rustix::process::setsid();
        let high = rustix::io::fcntl_dupfd_cloexec(report.as_fd(), 256);
        if confine.is_some_and(|confine| confine().is_err()) {
            std::process::exit(125);
        }
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

/// Reaps everyone that ended; the agent's own end is what matters, and that it has stopped. The numbers are taken as the kernel gives them: a
/// real-time signal has no name.
fn reap(agent: Pid) -> Option<FromInit> {
    let mut end = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
        if pid != agent {
            continue;
        }
        end = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Some(FromInit::Exited(u8::try_from(code & 0xff).unwrap_or(u8::MAX))),
            (None, Some(signal)) => Some(FromInit::Signaled(signal)),
            (None, None) => status.stopping_signal().map(FromInit::Stopped).or(end),
        };
    }
    end
}
