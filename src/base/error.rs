//! What went wrong, why, and what to do about it: three lines, and an exit code that says whose fault it is.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Exit code: bottle was used in a wrong way.
pub const USAGE: u8 = 2;
/// Exit code: bottle itself failed.
pub const FAILED: u8 = 125;
/// Exit code: the agent's program cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// Exit code: the agent's program is not there.
pub const NOT_FOUND: u8 = 127;

/// The hint of an error that nobody but bottle's own code can cause.
const BUG: &str = "this is a bug in bottle: please report it";

/// Any error, or a sentence where there is none.
pub type Source = Box<dyn StdError + Send + Sync>;

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
    pub cause: Cause,
    /// What to do, one line.
    pub hint: String,
    /// The exit code.
    pub code: u8,
}

/// The result of whatever can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Bottle failed (125).
    pub fn failed(what: impl Into<String>, cause: impl Into<Source>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), cause: Cause::new(cause.into()), hint: hint.into(), code: FAILED }
    }

    /// Bottle was used in a wrong way (2).
    pub fn usage(what: impl Into<String>, cause: impl Into<Source>, hint: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::failed(what, cause, hint) }
    }

    /// What no host and no operator can cause (125).
    pub fn bug(what: impl Into<String>, cause: impl Into<Source>) -> Self {
        Self::failed(what, cause, BUG)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}\ncause: {}\nhint:  {}", self.what, self.cause, self.hint)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&**self.cause.source)
    }
}

/// Why something failed. It reads as text: the error and what it came from, outermost first, on one line. The error itself stays behind it.
#[derive(Clone)]
pub struct Cause {
    text: String,
    source: Arc<Source>,
}

impl Cause {
    fn new(source: Source) -> Self {
        Self { text: chain(&*source), source: Arc::new(source) }
    }
}

/// An error and its sources, joined by colons. Many errors repeat their source as the end of their own text: it is not repeated again.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    for source in std::iter::successors(error.source(), |&error| error.source()).map(ToString::to_string) {
        if !text.ends_with(&source) {
            text = format!("{text}: {source}");
        }
    }
    text
}

impl Deref for Cause {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Cause {}

impl PartialEq<str> for Cause {
    fn eq(&self, other: &str) -> bool {
        self.text == other
    }
}

impl PartialEq<&str> for Cause {
    fn eq(&self, other: &&str) -> bool {
        self.text == *other
    }
}

impl PartialEq<String> for Cause {
    fn eq(&self, other: &String) -> bool {
        self.text == *other
    }
}

impl From<Cause> for String {
    fn from(cause: Cause) -> Self {
        cause.text
    }
}

/// The cause of one error as that of another.
impl From<Cause> for Source {
    fn from(cause: Cause) -> Self {
        Self::from(Shared(cause.source))
    }
}

/// An error that several causes share.
struct Shared(Arc<Source>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Shared {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// Turns what the system reported into an error of three lines.
pub trait OrFail<T> {
    /// Bottle failed.
    fn or_fail(self, what: impl Into<String>, hint: impl Into<String>) -> Result<T>;

    /// Bottle was used in a wrong way.
    fn or_usage(self, what: impl Into<String>, hint: impl Into<String>) -> Result<T>;

    /// This cannot happen unless bottle has a bug.
    fn or_bug(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<Source>> OrFail<T> for std::result::Result<T, E> {
    fn or_fail(self, what: impl Into<String>, hint: impl Into<String>) -> Result<T> {
        self.map_err(|error| Error::failed(what, error, hint))
    }

    fn or_usage(self, what: impl Into<String>, hint: impl Into<String>) -> Result<T> {
        self.map_err(|error| Error::usage(what, error, hint))
    }

    fn or_bug(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|error| Error::bug(what, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Layer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_deref().map(|source| source as &(dyn StdError + 'static))
        }
    }

    fn layers(outer: &'static str, inner: &'static str) -> Layer {
        Layer(outer, Some(Box::new(Layer(inner, None))))
    }

    #[test]
    fn the_cause_is_the_whole_chain_and_a_repeated_source_is_written_once() {
        let error = Err::<(), _>(layers("the record is cut off", "end of file")).or_fail("cannot read it", "look at it").unwrap_err();
        assert_eq!(error.to_string(), "error: cannot read it\ncause: the record is cut off: end of file\nhint:  look at it");
        assert_eq!(Error::bug("x", layers("read: end of file", "end of file")).cause, "read: end of file");
    }

    #[test]
    fn the_source_survives_and_passes_from_one_error_to_another() {
        let refused = std::io::Error::from_raw_os_error(13);
        let first = Error::failed("one", refused, "none");
        let second = Error::usage("two", first.cause.clone(), "none");
        assert_eq!((second.cause, second.code), (first.cause.clone(), USAGE));
        let source = StdError::source(&first).and_then(|source| source.downcast_ref::<std::io::Error>());
        assert_eq!(source.and_then(std::io::Error::raw_os_error), Some(13));
    }
}
