//! Readers and writers that hash what passes.

use std::io::{self, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};

use crate::digest::hex;

/// Counts and hashes what is written.
pub(super) struct Hashed<W> {
    out: W,
    context: Context,
    size: u64,
}

impl<W: Write> Hashed<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, context: Context::new(&SHA256), size: 0 }
    }

    /// What was written through, its SHA-256 in hexadecimal, and its size.
    pub(super) fn finish(self) -> (W, String, u64) {
        (self.out, hex(self.context.finish().as_ref()), self.size)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.context.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Hashes what is read.
pub(super) struct HashedRead<R> {
    inner: R,
    context: Context,
}

impl<R> HashedRead<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, context: Context::new(&SHA256) }
    }

    /// The SHA-256 of what was read, hexadecimal.
    pub(super) fn finish(self) -> String {
        hex(self.context.finish().as_ref())
    }
}

impl<R: Read> Read for HashedRead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.context.update(&buffer[..count]);
        Ok(count)
    }
}
