//! A scan of bytes that arrive in pieces.
//!
//! Windows are cut at fixed distances from the beginning, each with the end of the last one in front, so what is
//! scanned depends on the bytes alone and not on how they were cut.

use crate::Finding;
use crate::Scanner;
use crate::job::{Job, Stop};

/// New bytes of a window.
const STEP: usize = 128 << 10;

/// Bytes of the last window that stand in front of the new ones: more than the longest match or fingerprint, in its
/// longest encoding.
const OVERLAP: usize = 16 << 10;

/// Decoded bytes that each scan may make, beside [`EXPANSION`] times what was read.
const ALLOWANCE: u64 = 8 << 20;

/// Three for the four alignments of base64, as much for what they hold, and the rest for compressed text.
const EXPANSION: u64 = 32;

/// A scan under way. The answer does not depend on where the pieces were cut.
#[derive(Debug)]
pub struct Stream {
    scanner: Scanner,
    path: Option<String>,
    /// What the next window begins with.
    held: Vec<u8>,
    /// How many of the held bytes were part of the last window.
    seen: usize,
    /// Where in the stream the held bytes begin.
    base: u64,
    /// Decoded bytes so far.
    spent: u64,
    verdict: Option<Finding>,
}

impl Stream {
    pub(crate) fn new(scanner: Scanner, path: Option<&str>) -> Self {
        Self { scanner, path: path.map(str::to_owned), held: Vec::new(), seen: 0, base: 0, spent: 0, verdict: None }
    }

    /// Scans the next piece together with what must be remembered of the last ones. After a finding, every further call
    /// gives the same finding.
    pub fn push(&mut self, mut piece: &[u8]) -> Option<Finding> {
        while self.verdict.is_none() && !piece.is_empty() {
            let room = STEP - (self.held.len() - self.seen);
            let (now, later) = piece.split_at(room.min(piece.len()));
            self.held.extend_from_slice(now);
            piece = later;
            if self.held.len() - self.seen == STEP {
                self.window();
            }
        }
        self.verdict.clone()
    }

    /// The end of the stream: what was held back is scanned too.
    pub fn finish(mut self) -> Option<Finding> {
        if self.verdict.is_none() && self.held.len() > self.seen {
            self.window();
        }
        self.verdict
    }

    /// How many bytes from the beginning can be let go: everything that begins before this point was seen whole.
    pub fn safe_len(&self) -> u64 {
        if self.verdict.is_some() || self.seen == 0 { self.base } else { self.base + self.seen.saturating_sub(OVERLAP) as u64 }
    }

    fn window(&mut self) {
        let read = self.base + self.held.len() as u64;
        let budget = (ALLOWANCE + EXPANSION * read).saturating_sub(self.spent);
        let mut job = Job::new(&self.scanner.engine, self.path.as_deref(), budget);
        job.base = self.base;
        let result = job.view(&self.held);
        self.spent += budget - job.budget;
        match result {
            Ok(()) => {}
            Err(Stop::Found(finding)) => self.verdict = Some(finding),
            Err(Stop::NotScannable(why)) => self.verdict = Some(Finding::not_scannable(self.base, why)),
        }
        let keep = self.held.len().min(OVERLAP);
        self.base += (self.held.len() - keep) as u64;
        self.held.drain(..self.held.len() - keep);
        self.seen = keep;
    }
}
