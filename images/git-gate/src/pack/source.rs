//! Reads a pack: in order, hashing on the way, or from any offset.

use aws_lc_rs::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::Unsound;
use crate::quarantine::Quarantine;

/// Bytes that may still be arriving.
pub trait Source {
    /// Reads at `at`, and waits until bytes are there; zero at the end.
    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<usize, Unsound>;
}

impl Source for Quarantine {
    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<usize, Unsound> {
        self.read_at(at, into).map_err(|_| Unsound::Abandoned)
    }
}

impl Source for [u8] {
    fn read_at(&self, at: u64, into: &mut [u8]) -> Result<usize, Unsound> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

/// Bytes read at once.
const BUFFER_BYTES: usize = 64 << 10;

/// A buffered reader.
pub struct Reader<'s, S: Source + ?Sized> {
    source: &'s S,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// The offset of `buffer[end]` in the source.
    next: u64,
    hashes: Option<Hashes>,
}

/// The hashes of all bytes so far.
struct Hashes {
    /// The buffer is hashed up to here.
    done: usize,
    pack: Context,
    all: Context,
}

impl<'s, S: Source + ?Sized> Reader<'s, S> {
    /// Reads from `at` on.
    pub fn at(source: &'s S, at: u64) -> Self {
        Self { source, buffer: vec![0; BUFFER_BYTES].into(), start: 0, end: 0, next: at, hashes: None }
    }

    /// Reads from the start, and hashes what it reads.
    pub fn hashing(source: &'s S) -> Self {
        let hashes = Hashes { done: 0, pack: Context::new(&SHA1_FOR_LEGACY_USE_ONLY), all: Context::new(&SHA256) };
        Self { hashes: Some(hashes), ..Self::at(source, 0) }
    }

    /// Continues at another offset. Only for a reader that does not hash.
    pub fn seek(&mut self, at: u64) {
        debug_assert!(self.hashes.is_none(), "skipped bytes would not be hashed");
        (self.start, self.end, self.next) = (0, 0, at);
    }

    /// The offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.next - (self.end - self.start) as u64
    }

    /// The next bytes: at least one, except at the end.
    pub fn fill(&mut self) -> Result<&[u8], Unsound> {
        if self.start == self.end {
            self.hash();
            if let Some(hashes) = &mut self.hashes {
                hashes.done = 0;
            }
            let read = self.source.read_at(self.next, &mut self.buffer)?;
            (self.start, self.end) = (0, read);
            self.next += read as u64;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// Consumes bytes of the buffer.
    pub fn consume(&mut self, bytes: usize) {
        self.start += bytes;
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, Unsound> {
        let byte = *self.fill()?.first().ok_or(Unsound::CutOff)?;
        self.consume(1);
        Ok(byte)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Unsound> {
        let mut array = [0; N];
        for byte in &mut array {
            *byte = self.byte()?;
        }
        Ok(array)
    }

    fn hash(&mut self) {
        if let Some(hashes) = &mut self.hashes {
            let new = &self.buffer[hashes.done..self.start];
            hashes.pack.update(new);
            hashes.all.update(new);
            hashes.done = self.start;
        }
    }

    /// Checks the trailing checksum, and that nothing follows it. Returns the SHA-256 of the pack.
    pub fn finish(mut self) -> Result<Digest, Unsound> {
        self.hash();
        let ours = self.hashes.as_ref().map(|hashes| hashes.pack.clone().finish());
        let theirs: [u8; 20] = self.array()?;
        if ours.is_none_or(|ours| ours.as_ref() != theirs) {
            return Err(Unsound::Checksum);
        }
        if !self.fill()?.is_empty() {
            return Err(Unsound::Trailing);
        }
        self.hash();
        let hashes = self.hashes.ok_or(Unsound::Checksum)?;
        Ok(hashes.all.finish())
    }
}
