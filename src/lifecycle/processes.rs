//! The components that run: their descriptors as the loop polls them, and what each of them has to say.

use std::os::fd::OwnedFd;
use std::time::Instant;

use bottle_contract::handoff::HEARTBEAT_TIMEOUT;
use bottle_init::control::{FromInit, ToInit};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::outcome::AgentExit;
use crate::backend::Process;
use crate::plan::agent::AGENT;

/// What is known of whether a sidecar answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does not tell.
    Unknown,
    /// It told so at this time.
    Heard(Instant),
    /// It has not told so in time.
    Silent,
}

/// A component under watch.
#[derive(Debug)]
pub struct WatchedProcess {
    /// The component; its descriptors close as they end.
    pub handle: Process,
    /// Its process has not been reaped.
    pub alive: bool,
    /// It talks to us.
    pub talks: bool,
    /// It serves, or, for the agent, it can start at once.
    pub served: bool,
    /// Whether it answers.
    pub health: Health,
    /// How its program ended, if its first process said so.
    pub end: Option<AgentExit>,
}

impl WatchedProcess {
    /// Watches a component.
    pub fn new(handle: Process) -> Self {
        Self { handle, alive: true, talks: true, served: false, health: Health::Unknown, end: None }
    }

    /// The agent is the only component that does not serve.
    pub fn is_agent(&self) -> bool {
        self.handle.component == AGENT
    }

    /// When it must have told that it answers.
    pub fn due(&self) -> Option<Instant> {
        match self.health {
            Health::Heard(at) => Some(at + HEARTBEAT_TIMEOUT),
            Health::Unknown | Health::Silent => None,
        }
    }

    /// What the first process says, if it says something.
    pub fn receive(&mut self) -> Option<(FromInit, Vec<OwnedFd>)> {
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
    pub fn send(&self, message: &ToInit) {
        let _ = self.handle.control.send(message);
    }

    /// Asks a sidecar to end.
    pub fn stop(&self) {
        if self.handle.held {
            self.send(&ToInit::Signal(libc::SIGTERM));
        } else {
            self.signal(Signal::TERM);
        }
    }

    /// Ends everyone in its pid namespace.
    pub fn kill(&self) {
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
    pub fn reap(&mut self) -> String {
        self.alive = false;
        match self.end {
            Some(AgentExit::Exited(code)) => return format!("it exited with code {code}"),
            Some(AgentExit::Signaled(signal)) => return format!("it was ended by {}", super::outcome::name(signal)),
            Some(AgentExit::NotExecuted(number)) => return std::io::Error::from_raw_os_error(number).to_string(),
            Some(AgentExit::Lost) | None => {}
        }
        match waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(&self.handle.pidfd)), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("it exited with code {code}"),
                (_, Some(signal)) => format!("it was ended by {}", super::outcome::name(signal)),
                _ => "it ended".to_owned(),
            },
            _ => "it ended".to_owned(),
        }
    }

    /// Reads what is there of an output; `None` at its end.
    pub fn read(&mut self, name: &str, buffer: &mut [u8]) -> Option<usize> {
        let (_, fd) = self.handle.stdio.outputs.iter().find(|(other, _)| *other == name)?;
        match rustix::io::read(fd, &mut *buffer) {
            // The other side of a terminal whose last user is gone answers with EIO.
            Ok(0) => None,
            Ok(count) => Some(count),
            Err(Errno::INTR | Errno::AGAIN) => Some(0),
            Err(_) => None,
        }
    }

    /// Reads an output no more.
    pub fn close(&mut self, name: &str) {
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
        let handle = Process { component: AGENT.to_owned(), pid, pidfd, control: ours, held: false, stdio: Stdio::default() };
        let mut watched = WatchedProcess::new(handle);
        watched.send(&ToInit::Signal(libc::SIGWINCH));
        theirs.send(&FromInit::Exited(6)).unwrap();
        drop(theirs);
        assert!(matches!(watched.receive(), Some((FromInit::Exited(6), _))));
        assert!(watched.receive().is_none() && !watched.talks);
    }
}
