//! A scan of bytes that arrive in chunks.
//!
//! Windows are cut at fixed distances from the beginning, each with the end of the last one in front, so what is scanned depends on the
//! bytes alone and not on how they were cut. Compressed data, and base64 that reaches the end of a window, are decoded as they go on,
//! each into a stream of its own.

mod layer_stream;
mod open_decoder;

use std::sync::Arc;

use crate::engine::Engine;
use crate::finding::Finding;
use crate::limits::budget;
use crate::redaction::Redacted;
use layer_stream::LayerStream;

/// A scan under way. The verdict does not depend on where the chunks were cut.
#[derive(Debug)]
pub struct Stream {
    raw: LayerStream,
    /// Decoded bytes so far, of all layers.
    spent: u64,
    read: u64,
}

impl Stream {
    pub(crate) fn new(engine: Arc<Engine>, path: Option<&str>) -> Self {
        Self { raw: LayerStream::new(engine, path.map(str::to_owned)), spent: 0, read: 0 }
    }

    /// A scan that replaces what it finds where it can.
    pub(crate) fn redacting(engine: Arc<Engine>) -> Self {
        Self { raw: LayerStream::redacting(engine), spent: 0, read: 0 }
    }

    /// What a redacting scan has done with since the last call, and what it replaced in it.
    pub(crate) fn take(&mut self) -> (Vec<u8>, Vec<Redacted>) {
        (self.raw.take_out(), self.raw.take_redacted())
    }

    /// The end of a redacting scan: the verdict, and as in [`Stream::take`].
    pub(crate) fn finish_redacting(mut self) -> (Option<Finding>, Vec<u8>, Vec<Redacted>) {
        let verdict = self.within_budget(LayerStream::finish);
        let (out, redacted) = self.take();
        (verdict, out, redacted)
    }

    /// Scans the next chunk together with what must be remembered of the last ones. After a finding, every further call returns the
    /// same finding.
    pub fn push(&mut self, chunk: &[u8]) -> Option<Finding> {
        self.read += chunk.len() as u64;
        self.within_budget(|raw, budget| raw.push(chunk, budget))
    }

    /// The end of the stream: what is still buffered is scanned too.
    pub fn finish(mut self) -> Option<Finding> {
        self.within_budget(LayerStream::finish)
    }

    /// How many bytes from the beginning can be let go: everything that begins before this point was seen whole, also
    /// in what was decoded so far. Zero as long as the first window is not full.
    pub fn safe_len(&self) -> u64 {
        self.raw.safe_len()
    }

    fn within_budget(&mut self, scan: impl FnOnce(&mut LayerStream, &mut u64)) -> Option<Finding> {
        let whole = budget(self.read).saturating_sub(self.spent);
        let mut budget = whole;
        scan(&mut self.raw, &mut budget);
        self.spent += whole - budget;
        self.raw.verdict().cloned()
    }
}
