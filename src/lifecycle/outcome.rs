//! How a bottle ended, and the exit code that says whose doing it was.

use crate::error::{Error, FAILED, NOT_EXECUTABLE, NOT_FOUND};

/// How the agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentExit {
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
pub struct Outcome {
    agent: Option<AgentExit>,
    failure: Option<Error>,
    signal: Option<i32>,
    killed: bool,
    unread: usize,
    unfinished_line: bool,
    time_is_up: Option<String>,
}

impl Outcome {
    /// The agent ended.
    pub fn agent(&mut self, end: AgentExit) {
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

    /// Whoever reads our output has not taken this many bytes of it.
    pub fn unread(&mut self, bytes: usize) {
        self.unread = bytes;
    }

    /// What the agent printed last where messages go: they start on a line of their own.
    pub fn printed(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.unfinished_line = *last != b'\n';
        }
    }

    /// True if what the agent printed last has no end of line.
    pub fn has_unfinished_line(&self) -> bool {
        self.unfinished_line
    }

    /// How many bytes of output were given up.
    pub fn unread_bytes(&self) -> usize {
        self.unread
    }

    /// The agent's time was up; `limit` is how much it had.
    pub fn time_is_up(&mut self, limit: &str) {
        self.time_is_up = Some(format!("its time was up ({limit})"));
    }

    /// Why it ended, for lists and records, if that was not the agent's own doing.
    pub fn reason(&self) -> Option<&str> {
        self.failure.as_ref().map(|error| error.what.as_str()).or(self.time_is_up.as_deref())
    }

    /// True if a signal or the time limit asked for the end.
    pub fn was_asked(&self) -> bool {
        self.signal.is_some() || self.time_is_up.is_some()
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
            Some(AgentExit::Signaled(signal)) => Some(signal),
            Some(AgentExit::Lost) if self.killed => Some(libc::SIGKILL),
            _ => None,
        }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        if let Some(error) = &self.failure {
            return error.code;
        }
        match self.agent {
            Some(AgentExit::Exited(code)) => code,
            Some(AgentExit::Signaled(signal)) => from_signal(signal),
            Some(AgentExit::NotExecuted(libc::ENOENT | libc::ENOTDIR)) => NOT_FOUND,
            Some(AgentExit::NotExecuted(_)) => NOT_EXECUTABLE,
            Some(AgentExit::Lost) => from_signal(libc::SIGKILL),
            None => self.signal.map_or(FAILED, from_signal),
        }
    }

    /// A sentence for the operator, where the code alone does not tell; `program` is the agent's.
    pub fn sentence(&self, program: &str) -> Option<Error> {
        let (what, cause, hint) = match self.agent? {
            AgentExit::Exited(_) | AgentExit::Signaled(_) | AgentExit::Lost if self.time_is_up.is_some() => {
                let reason = self.time_is_up.as_deref().unwrap_or_default();
                let hint = "raise `limits.time` of its bottle; its log is kept: `bottle logs`";
                (format!("the agent was ended: {reason}"), self.last_of_agent(), hint)
            }
            AgentExit::NotExecuted(number) => {
                let cause = std::io::Error::from_raw_os_error(number).to_string();
                let missing = matches!(number, libc::ENOENT | libc::ENOTDIR);
                let what = if missing { "is not in the bottle" } else { "cannot be executed in the bottle" };
                (
                    format!("`{program}` {what}"),
                    cause,
                    "it sees the host's /usr and /opt; `tools:` in the bottle's manifest adds directories",
                )
            }
            AgentExit::Signaled(signal) => {
                (format!("the agent was ended by {}", name(signal)), format!("signal {signal}"), "its log is kept: `bottle logs`")
            }
            AgentExit::Lost if self.killed => {
                ("the agent did not end in time and was killed".to_owned(), "SIGKILL".to_owned(), "`--grace` gives it more time")
            }
            AgentExit::Lost => (
                "the agent's namespace was killed from outside".to_owned(),
                "SIGKILL".to_owned(),
                "look for the kernel's out-of-memory killer, or raise `limits.memory`",
            ),
            AgentExit::Exited(_) => return None,
        };
        Some(Error { code: self.code(), ..Error::failed(what, cause, hint) })
    }
}

impl Outcome {
    /// What the agent did about it.
    fn last_of_agent(&self) -> String {
        match self.agent {
            Some(AgentExit::Exited(code)) => format!("asked to end, it exited with code {code}"),
            Some(AgentExit::Signaled(signal)) if !self.killed => name(signal),
            _ => "asked to end, it did not, and was killed".to_owned(),
        }
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
    fn a_time_that_was_up_is_the_reason_whatever_the_agent_made_of_it() {
        let said = |set: &dyn Fn(&mut Outcome)| {
            let mut outcome = Outcome::default();
            outcome.time_is_up("2h");
            set(&mut outcome);
            assert_eq!(outcome.reason(), Some("its time was up (2h)"));
            let error = outcome.sentence("sh").unwrap();
            (error.what, error.cause.to_string(), error.code)
        };
        let what = "the agent was ended: its time was up (2h)".to_owned();
        assert_eq!(said(&|e| e.agent(AgentExit::Signaled(libc::SIGTERM))), (what.clone(), "SIGTERM".to_owned(), 143));
        assert_eq!(said(&|e| e.agent(AgentExit::Exited(5))), (what.clone(), "asked to end, it exited with code 5".to_owned(), 5));
        let killed = said(&|e| {
            e.killed();
            e.agent(AgentExit::Lost);
        });
        assert_eq!(killed, (what, "asked to end, it did not, and was killed".to_owned(), 137));
    }

    #[test]
    fn the_code_says_whose_doing_it_was() {
        let code = |set: &dyn Fn(&mut Outcome)| {
            let mut outcome = Outcome::default();
            set(&mut outcome);
            outcome.code()
        };
        assert_eq!(code(&|e| e.agent(AgentExit::Exited(7))), 7);
        assert_eq!(code(&|e| e.agent(AgentExit::Signaled(libc::SIGSEGV))), 139);
        assert_eq!(code(&|e| e.agent(AgentExit::NotExecuted(libc::ENOENT))), 127);
        assert_eq!(code(&|e| e.agent(AgentExit::NotExecuted(libc::EACCES))), 126);
        assert_eq!(code(&|e| e.agent(AgentExit::NotExecuted(libc::ENOEXEC))), 126);
        assert_eq!(code(&|e| e.signal(libc::SIGTERM)), 143);
        assert_eq!(
            code(&|e| {
                e.signal(libc::SIGTERM);
                e.agent(AgentExit::Exited(0));
            }),
            0
        );
        assert_eq!(
            code(&|e| {
                e.failure(Error::failed("a", "b", "c"));
                e.agent(AgentExit::Exited(0));
            }),
            125
        );
        assert_eq!(code(&|_| {}), 125);
    }
}
