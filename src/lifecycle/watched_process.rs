//! A component that runs: its descriptors as the loop polls them, and what it has to say.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use bottle_contract::handoff::READY;
use bottle_init::control::{FromInit, ToInit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::health::Health;
use super::outcome::AgentExit;
use crate::backend::Process;
use crate::plan::agent::AGENT;

/// Nanoseconds between the end of a process' descriptors and its own, on a busy machine.
const EXIT_REPORT_NANOS: i64 = 500_000_000;
/// To poll without waiting.
const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// What a sidecar has said about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// Nothing new.
    Nothing,
    /// It serves.
    Ready,
    /// It answers again after a silence.
    AnswersAgain,
    /// It runs, and will never say that it serves.
    NeverReady,
}

/// A component under watch.
#[derive(Debug)]
pub(super) struct WatchedProcess {
    /// The component; its descriptors close as they end.
    pub(super) handle: Process,
    /// Its process has not been reaped.
    pub(super) alive: bool,
    /// It talks to us.
    pub(super) talks: bool,
    /// It serves, or, for the agent, it can start at once.
    pub(super) served: bool,
    /// Whether it answers.
    pub(super) health: Health,
    /// How its program ended, if its first process said so.
    pub(super) end: Option<AgentExit>,
}

impl WatchedProcess {
    /// Watches a component.
    pub(super) fn new(handle: Process) -> Self {
        Self { handle, alive: true, talks: true, served: false, health: Health::default(), end: None }
    }

    /// The agent is the only component that does not serve.
    pub(super) fn is_agent(&self) -> bool {
        self.handle.component == AGENT
    }

    /// Reads what a sidecar says about itself.
    pub(super) fn hear(&mut self, now: Instant) -> Report {
        let mut buffer = [0; 64];
        let count = self.handle.stdio.ready.as_ref().and_then(|fd| rustix::io::read(fd, &mut buffer).ok()).unwrap_or(0);
        if count == 0 {
            self.handle.stdio.ready = None;
        }
        if self.served && count > 0 {
            return if self.health.hear(now) { Report::AnswersAgain } else { Report::Nothing };
        }
        if self.served {
            // It has ended, or is one that never says more.
            self.health = Health::Unknown;
            return Report::Nothing;
        }
        if buffer[..count].starts_with(READY) {
            self.served = true;
            self.health.hear(now);
            return Report::Ready;
        }
        self.handle.stdio.ready = None;
        // It has closed the descriptor without a word: its end follows at once, and tells more; or it never serves.
        let soon = Timespec { tv_sec: 0, tv_nsec: EXIT_REPORT_NANOS };
        match poll(&mut [PollFd::new(&self.handle.pidfd, PollFlags::IN)], Some(&soon)) {
            Ok(1..) => Report::Nothing,
            _ => Report::NeverReady,
        }
    }

    /// True if it has said something that was not read yet.
    pub(super) fn has_spoken(&self) -> bool {
        let fd = self.handle.stdio.ready.as_ref();
        fd.is_some_and(|fd| !matches!(poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&NO_WAIT)), Ok(0)))
    }

    /// What the first process says, if it says something.
    pub(super) fn receive(&mut self) -> Option<(FromInit, Vec<OwnedFd>)> {
        let mut received = self.handle.control.receive::<FromInit>();
        // It exited before it read all that it was sent: the kernel says so once, and only then gives what it had sent itself (unix(7)).
        if received.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset) {
            received = self.handle.control.receive();
        }
        match received {
            Ok((message, fds)) => Some((message, fds.into_iter().flatten().collect())),
            Err(_) => {
                self.talks = false;
                None
            }
        }
    }

    /// Tells the first process something; one that is gone is told nothing.
    pub(super) fn send(&self, message: &ToInit) {
        let _ = self.handle.control.send(message);
    }

    /// Asks a sidecar to end.
    pub(super) fn stop(&self) {
        self.ask(Signal::TERM);
    }

    /// Asks a sidecar to read its configuration again.
    pub(super) fn reload(&self) {
        self.ask(Signal::HUP);
    }

    fn ask(&self, signal: Signal) {
        if self.handle.held {
            self.send(&ToInit::Signal(signal.as_raw()));
        } else {
            self.signal(signal);
        }
    }

    /// Ends everyone in its pid namespace.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
        if self.handle.held {
            // Whoever may not signal it can still leave it: the end of the conversation is its end.
            let _ = rustix::net::shutdown(&self.handle.control, rustix::net::Shutdown::Both);
        }
    }

    /// Sends a signal to the first process, and to no other.
    fn signal(&self, signal: Signal) {
        if self.alive {
            // The process may be gone already; its end is heard by its descriptor.
            let _ = pidfd_send_signal(&self.handle.pidfd, signal);
        }
    }

    /// Reaps the process: how it ended, for a message.
    pub(super) fn reap(&mut self) -> String {
        self.alive = false;
        match self.end {
            Some(AgentExit::Exited(code)) => return format!("it exited with code {code}"),
            Some(AgentExit::Signaled(signal)) => return format!("it was ended by {}", super::outcome::name(signal)),
            Some(AgentExit::NotExecuted(number)) => return std::io::Error::from_raw_os_error(number).to_string(),
            Some(AgentExit::Lost) | None => {}
        }
        match waitid(WaitId::PidFd(self.handle.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("it exited with code {code}"),
                (_, Some(signal)) => format!("it was ended by {}", super::outcome::name(signal)),
                _ => "it ended".to_owned(),
            },
            _ => "it ended".to_owned(),
        }
    }

    /// Reads what is there of an output; `None` at its end.
    pub(super) fn read(&mut self, name: &str, buffer: &mut [u8]) -> Option<usize> {
        let (_, fd) = self.handle.stdio.outputs.iter().find(|(other, _)| *other == name)?;
        match rustix::io::read(fd, &mut *buffer) {
            // The other side of a terminal whose last user is gone answers with EIO.
            Ok(0) => None,
            Ok(count) => Some(count),
            Err(Errno::INTR | Errno::AGAIN) => Some(0),
            Err(_) => None,
        }
    }

    /// Reads on in what a process that is gone has left in its pipes: the output and how many bytes; `None` once all of it is read.
    pub(super) fn read_next(&mut self, buffer: &mut [u8]) -> Option<(&'static str, usize)> {
        loop {
            let (name, fd) = self.handle.stdio.outputs.first()?;
            let _ = rustix::io::ioctl_fionbio(fd, true);
            match rustix::io::read(fd, &mut *buffer) {
                Ok(count) if count > 0 => return Some((name, count)),
                Err(Errno::INTR) => {}
                _ => drop(self.handle.stdio.outputs.remove(0)),
            }
        }
    }

    /// Reads an output no more.
    pub(super) fn close(&mut self, name: &str) {
        self.handle.stdio.outputs.retain(|(other, _)| *other != name);
    }
}

#[cfg(test)]
mod tests {
    use bottle_init::control;

    use super::*;
    use crate::backend::Stdio;

    // covers: L01
    #[test]
    fn an_exit_is_received_though_the_last_signal_was_never_read() {
        let (ours, theirs) = control::pair().unwrap();
        let pid = rustix::process::getpid();
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let handle =
            Process { component: AGENT.to_owned(), pid, pidfd, control: ours, held: false, stdio: Stdio::default(), opens: Vec::new() };
        let mut watched = WatchedProcess::new(handle);
        watched.send(&ToInit::Signal(libc::SIGWINCH));
        theirs.send(&FromInit::Exited(6)).unwrap();
        drop(theirs);
        assert!(matches!(watched.receive(), Some((FromInit::Exited(6), _))));
        assert!(watched.receive().is_none() && !watched.talks);
    }
}
