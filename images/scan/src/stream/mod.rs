//! A scan of bytes that arrive in pieces.
//!
//! Windows are cut at fixed distances from the beginning, each with the end of the last one in front, so what is
//! scanned depends on the bytes alone and not on how they were cut. Compressed data, and base64 that reaches the end of
//! a window, are decoded as they go on, each into a stream of its own.

mod opening;

use crate::job::{Beyond, Job, Stop};
use crate::{Finding, Scanner};
pub(crate) use opening::{Decoder, Opening};

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
    inner: Inner,
    /// Decoded bytes so far, of all layers.
    spent: u64,
    read: u64,
}

/// The stream of one layer.
#[derive(Debug)]
pub(crate) struct Inner {
    scanner: Scanner,
    path: Option<String>,
    /// The layers that led here, and where in the raw bytes the outermost began.
    layers: Vec<&'static str>,
    origin: u64,
    /// What the next window begins with.
    held: Vec<u8>,
    /// How many of the held bytes were part of the last window.
    seen: usize,
    /// Where in the stream the held bytes begin.
    base: u64,
    /// What goes on beyond the last window.
    open: Vec<Opening>,
    verdict: Option<Finding>,
}

impl Stream {
    pub(crate) fn new(scanner: Scanner, path: Option<&str>) -> Self {
        Self { inner: Inner::new(scanner, path.map(str::to_owned), Vec::new(), 0), spent: 0, read: 0 }
    }

    /// Scans the next piece together with what must be remembered of the last ones. After a finding, every further call
    /// gives the same finding.
    pub fn push(&mut self, piece: &[u8]) -> Option<Finding> {
        self.read += piece.len() as u64;
        self.within_budget(|inner, budget| inner.push(piece, budget))
    }

    /// The end of the stream: what was held back is scanned too.
    pub fn finish(mut self) -> Option<Finding> {
        self.within_budget(Inner::finish)
    }

    /// How many bytes from the beginning can be let go: everything that begins before this point was seen whole, also
    /// in what was decoded so far. Zero as long as the first window is not full.
    pub fn safe_len(&self) -> u64 {
        self.inner.safe_len()
    }

    fn within_budget(&mut self, scan: impl FnOnce(&mut Inner, &mut u64)) -> Option<Finding> {
        let whole = (ALLOWANCE + EXPANSION * self.read).saturating_sub(self.spent);
        let mut budget = whole;
        scan(&mut self.inner, &mut budget);
        self.spent += whole - budget;
        self.inner.verdict.clone()
    }
}

impl Inner {
    fn new(scanner: Scanner, path: Option<String>, layers: Vec<&'static str>, origin: u64) -> Self {
        Self { scanner, path, layers, origin, held: Vec::new(), seen: 0, base: 0, open: Vec::new(), verdict: None }
    }

    /// The verdict so far.
    pub(crate) fn verdict(&self) -> Option<&Finding> {
        self.verdict.as_ref()
    }

    pub(crate) fn push(&mut self, mut piece: &[u8], budget: &mut u64) {
        while self.verdict.is_none() && !piece.is_empty() {
            let room = STEP - (self.held.len() - self.seen);
            let (now, later) = piece.split_at(room.min(piece.len()));
            self.held.extend_from_slice(now);
            piece = later;
            if self.held.len() - self.seen == STEP {
                self.window(true, budget);
            }
        }
    }

    pub(crate) fn finish(&mut self, budget: &mut u64) {
        if self.verdict.is_none() && self.held.len() > self.seen {
            self.window(false, budget);
        }
        for mut opening in std::mem::take(&mut self.open) {
            if self.verdict.is_none() {
                opening.finish(budget);
                self.verdict = opening.verdict().cloned();
            }
        }
    }

    fn safe_len(&self) -> u64 {
        let own = if self.seen == 0 { 0 } else { self.base };
        self.open.iter().map(Opening::safe_len).fold(own, u64::min)
    }

    /// Scans what is held, and forgets all of it but the end.
    fn window(&mut self, more: bool, budget: &mut u64) {
        let end = self.base + self.held.len() as u64;
        // What was open when the window began goes on first: a run that it holds is no news.
        let run_went_on = self.open.iter().any(Opening::is_run);
        for opening in &mut self.open {
            opening.feed(&self.held[self.seen..], end, budget);
            self.verdict = self.verdict.take().or(opening.verdict().cloned());
        }
        if self.verdict.is_none() {
            let open = self.open.iter().map(|opening| opening.at).collect();
            let beyond = Beyond { open, run_went_on, run_goes_on: self.open.iter().any(Opening::is_run) };
            self.verdict = self.view(more.then_some(beyond), budget);
        }
        self.open.retain(|opening| !opening.is_ended());
        let keep = self.held.len().min(OVERLAP);
        self.base += (self.held.len() - keep) as u64;
        self.held.drain(..self.held.len() - keep);
        self.seen = keep;
    }

    fn view(&mut self, beyond: Option<Beyond>, budget: &mut u64) -> Option<Finding> {
        let mut job = Job::new(&self.scanner.engine, self.path.as_deref(), *budget, self.base);
        job.below(&self.layers, self.origin);
        if let Some(beyond) = beyond {
            job.goes_beyond(beyond);
        }
        let result = job.view(&self.held);
        *budget = job.budget;
        let openings = std::mem::take(&mut job.openings);
        match result {
            Ok(()) => {}
            Err(Stop::Found(finding)) => return Some(finding),
            Err(Stop::NotScannable(why)) => return Some(Finding::not_scannable(self.base, why)),
        }
        let end = self.base + self.held.len() as u64;
        for (at, from, decoder) in openings {
            let origin = if self.layers.is_empty() { self.base + at as u64 } else { self.origin };
            let mut opening = Opening::new(self, self.base + at as u64, origin, decoder);
            opening.feed(&self.held[from..], end, budget);
            let verdict = opening.verdict().cloned();
            self.open.push(opening);
            if verdict.is_some() {
                return verdict;
            }
        }
        None
    }
}
