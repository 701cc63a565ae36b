//! How a bottle ended, and the exit code that says whose doing it was.

use crate::error::{Error, FAILED, NOT_EXECUTABLE, NOT_FOUND};

/// How the agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentEnd {
    /// By itself, with this code.
    Exited(u8),
    /// By this signal.
    Signaled(i32),
    /// Its program could not be executed: the error number.
    NotExecuted(i32),
    /// Its first process was killed from outside.
    Lost,
}

/// Why a bottle ended: the first cause counts.
#[derive(Debug, Default)]
pub struct Ending {
    agent: Option<AgentEnd>,
    failure: Option<Error>,
    signal: Option<i32>,
    killed: bool,
}

impl Ending {
    /// The agent ended.
    pub fn agent(&mut self, end: AgentEnd) {
        self.agent.get_or_insert(end);
    }

    /// Bottle failed.
    pub fn failure(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    /// A signal asked for the end.
    pub fn signal(&mut self, signal: i32) {
        self.signal.get_or_insert(signal);
    }

    /// Bottle killed the agent.
    pub fn killed(&mut self) {
        self.killed = true;
    }

    /// What bottle failed at.
    pub fn error(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// The signal that ended the agent, if one did.
    pub fn agent_signal(&self) -> Option<i32> {
        match self.agent {
            Some(AgentEnd::Signaled(signal)) => Some(signal),
            Some(AgentEnd::Lost) if self.killed => Some(libc::SIGKILL),
            _ => None,
        }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        if let Some(error) = &self.failure {
            return error.code;
        }
        match self.agent {
            Some(AgentEnd::Exited(code)) => code,
            Some(AgentEnd::Signaled(signal)) => from_signal(signal),
            Some(AgentEnd::NotExecuted(libc::ENOENT | libc::ENOTDIR)) => NOT_FOUND,
            Some(AgentEnd::NotExecuted(_)) => NOT_EXECUTABLE,
            Some(AgentEnd::Lost) => from_signal(libc::SIGKILL),
            None => self.signal.map_or(FAILED, from_signal),
        }
    }

    /// A sentence for the operator, where the code alone does not tell; `program` is the agent's.
    pub fn sentence(&self, program: &str) -> Option<Error> {
        let (what, cause, hint) = match self.agent? {
            AgentEnd::NotExecuted(number) => {
                let cause = std::io::Error::from_raw_os_error(number).to_string();
                let missing = matches!(number, libc::ENOENT | libc::ENOTDIR);
                let what = if missing { "is not in the bottle" } else { "cannot be executed in the bottle" };
                (
                    format!("`{program}` {what}"),
                    cause,
                    "it sees the host's /usr and /opt; `tools:` in the bottle's manifest adds directories",
                )
            }
            AgentEnd::Signaled(signal) => {
                (format!("the agent was ended by {}", name(signal)), format!("signal {signal}"), "its log is kept: `bottle logs`")
            }
            AgentEnd::Lost if self.killed => {
                ("the agent did not end in time and was killed".to_owned(), "SIGKILL".to_owned(), "`--grace` gives it more time")
            }
            AgentEnd::Lost => (
                "the agent's namespace was killed from outside".to_owned(),
                "SIGKILL".to_owned(),
                "look for the kernel's out-of-memory killer, or raise `limits.memory`",
            ),
            AgentEnd::Exited(_) => return None,
        };
        Some(Error { what, cause, hint: hint.to_owned(), code: self.code() })
    }
}

fn from_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(FAILED)
}

/// `SIGTERM`, or a number for a signal without a name.
pub fn name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_says_whose_doing_it_was() {
        let code = |set: &dyn Fn(&mut Ending)| {
            let mut ending = Ending::default();
            set(&mut ending);
            ending.code()
        };
        assert_eq!(code(&|e| e.agent(AgentEnd::Exited(7))), 7);
        assert_eq!(code(&|e| e.agent(AgentEnd::Signaled(libc::SIGSEGV))), 139);
        assert_eq!(code(&|e| e.agent(AgentEnd::NotExecuted(libc::ENOENT))), 127);
        assert_eq!(code(&|e| e.agent(AgentEnd::NotExecuted(libc::EACCES))), 126);
        assert_eq!(code(&|e| e.agent(AgentEnd::NotExecuted(libc::ENOEXEC))), 126);
        assert_eq!(code(&|e| e.signal(libc::SIGTERM)), 143);
        assert_eq!(
            code(&|e| {
                e.signal(libc::SIGTERM);
                e.agent(AgentEnd::Exited(0));
            }),
            0
        );
        assert_eq!(
            code(&|e| {
                e.failure(Error::failed("a", "b", "c"));
                e.agent(AgentEnd::Exited(0));
            }),
            125
        );
        assert_eq!(code(&|_| {}), 125);
    }
}
