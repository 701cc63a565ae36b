//! The bytes of a pack, read in order and hashed on the way, or at any place.

use aws_lc_rs::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::Unsound;
use crate::quarantine::Quarantine;

/// Bytes that may still be arriving.
pub trait Source {
    /// Reads at `at`, waiting until something is there; nothing at the end.
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
        let most = rest.len().min(into.len());
        into[..most].copy_from_slice(&rest[..most]);
        Ok(most)
    }
}

/// What is read ahead.
const BUFFER_BYTES: usize = 64 << 10;

/// Reads on from a place.
pub struct Reader<'s, S: Source + ?Sized> {
    source: &'s S,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// The offset of `buffer[end]` in the source.
    next: u64,
    hashes: Option<Hashes>,
}

/// Of all bytes up to here.
struct Hashes {
    /// Up to where in the buffer.
    done: usize,
    pack: Context,
    all: Context,
}

impl<'s, S: Source + ?Sized> Reader<'s, S> {
    /// Reads from `at` on.
    pub fn at(source: &'s S, at: u64) -> Self {
        Self { source, buffer: vec![0; BUFFER_BYTES].into(), start: 0, end: 0, next: at, hashes: None }
    }

    /// Reads from the beginning, and hashes what is read.
    pub fn hashing(source: &'s S) -> Self {
        let hashes = Hashes { done: 0, pack: Context::new(&SHA1_FOR_LEGACY_USE_ONLY), all: Context::new(&SHA256) };
        Self { hashes: Some(hashes), ..Self::at(source, 0) }
    }

    /// Goes on at another place. Only for a reader that does not hash.
    pub fn seek(&mut self, at: u64) {
        debug_assert!(self.hashes.is_none(), "what is skipped would not be hashed");
        (self.start, self.end, self.next) = (0, 0, at);
    }

    /// Where the next byte stands.
    pub fn offset(&self) -> u64 {
        self.next - (self.end - self.start) as u64
    }

    /// The next bytes, at least one but at the end.
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

    /// These many of them were used.
    pub fn consume(&mut self, bytes: usize) {
        self.start += bytes;
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, Unsound> {
        let byte = *self.fill()?.first().ok_or(Unsound::CutOff)?;
        self.consume(1);
        Ok(byte)
    }

    /// The next few bytes.
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

    /// Reads the checksum that a pack ends with, and makes sure that it is right and the end. Returns the SHA-256 of
    /// everything.
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
