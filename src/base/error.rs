//! What went wrong, why, and what to do about it: three lines, and an exit code that says whose fault it is.

use std::fmt;

/// Exit code: bottle was used in a wrong way.
pub const USAGE: u8 = 2;
/// Exit code: bottle itself failed.
pub const FAILED: u8 = 125;
/// Exit code: the agent's program cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// Exit code: the agent's program is not there.
pub const NOT_FOUND: u8 = 127;

/// An error as the operator reads it.
///
/// ```text
/// error: cannot start bottle `web`: port 8443 is taken
/// cause: bind 127.0.0.1:8443: Address already in use (os error 98)
/// hint:  `bottle list` shows who holds it
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What happened, one line, lower case.
    pub what: String,
    /// The system's own words, one line.
    pub cause: String,
    /// What to do, one line.
    pub hint: String,
    /// The exit code.
    pub code: u8,
}

/// The result of whatever can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Bottle failed (125).
    pub fn failed(what: impl Into<String>, cause: impl fmt::Display, hint: impl Into<String>) -> Self {
        Self { what: what.into(), cause: cause.to_string(), hint: hint.into(), code: FAILED }
    }

    /// Bottle was used in a wrong way (2).
    pub fn usage(what: impl Into<String>, cause: impl fmt::Display, hint: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::failed(what, cause, hint) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}\ncause: {}\nhint:  {}", self.what, self.cause, self.hint)
    }
}

impl std::error::Error for Error {}
