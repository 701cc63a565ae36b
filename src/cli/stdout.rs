//! Standard output, whose reader may have seen enough: `bottle logs web | head`.

use std::io::{self, Write};

use crate::error::{OrFail, Result};

/// Exit code: nobody reads the output any more. What a shell shows for a program that SIGPIPE ended.
pub(super) const CLOSED: u8 = 128 + 13;

/// Remembers that the reader is gone, whatever a command makes of that error.
pub(super) struct Stdout<W> {
    inner: W,
    closed: bool,
}

impl<W: Write> Stdout<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, closed: false }
    }

    /// Writes the rest. A closed pipe is no error to tell anybody about.
    pub(super) fn end(mut self, result: Result<u8>) -> Result<u8> {
        let flushed = self.flush();
        if self.closed {
            return Ok(CLOSED);
        }
        let code = result?;
        flushed.or_fail("cannot write the output", "check the file or program that reads it")?;
        Ok(code)
    }

    fn noted<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.closed |= result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        result
    }
}

impl<W: Write> Write for Stdout<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.inner.write(bytes);
        self.noted(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.inner.flush();
        self.noted(result)
    }
}
