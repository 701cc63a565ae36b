//! Readers and writers that hash what passes.

use std::io::{self, Read, Write};

use bottle_base::digest::Sha256;

/// Counts and hashes what is written.
pub(crate) struct Hashed<W> {
    out: W,
    digest: Sha256,
    size: u64,
}

impl<W: Write> Hashed<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, digest: Sha256::default(), size: 0 }
    }

    /// What was written through, its SHA-256 in hexadecimal, and its size.
    pub(crate) fn finish(self) -> (W, String, u64) {
        (self.out, self.digest.hex(), self.size)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.digest.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Hashes what is read.
pub(crate) struct HashedRead<R> {
    inner: R,
    digest: Sha256,
}

impl<R> HashedRead<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, digest: Sha256::default() }
    }

    /// The SHA-256 of what was read, hexadecimal.
    pub(crate) fn finish(self) -> String {
        self.digest.hex()
    }
}

impl<R: Read> Read for HashedRead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}
