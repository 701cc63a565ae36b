//! The stream of one layer: the bytes as they came, or what a decoder makes of a part of them.

use std::sync::Arc;

use super::open_decoder::OpenDecoder;
use crate::decode::inflate::Fed;
use crate::engine::Engine;
use crate::finding::Finding;
use crate::limits::{self, MAX_DEPTH};
use crate::redaction::{Redacted, Redaction, UNSETTLED, Window};
use crate::rules::REACH;
use crate::window::{Hit, Stop, Unfinished, WindowEdge, WindowScan};

/// New bytes of a window.
const STEP: usize = 128 << 10;

/// Bytes of the last window that are scanned again with the new ones: more than the longest match or fingerprint, in its longest encoding.
const OVERLAP: usize = 16 << 10;

// What is left to the next window must be in it, with room for what a rule asks for in front.
const _: () = assert!(UNSETTLED + REACH <= OVERLAP);

/// Encoded bytes that are decoded at a time; smaller chunks make `safe_len` more exact.
const CHUNK_SIZE: usize = 8 << 10;

#[derive(Debug)]
pub(super) struct LayerStream {
    engine: Arc<Engine>,
    path: Option<String>,
    /// The layers that led here, and where in the raw bytes the outermost began.
    layers: Vec<&'static str>,
    origin: u64,
    /// What the next window begins with.
    buffer: Vec<u8>,
    /// How many of the buffered bytes were part of the last window.
    seen: usize,
    /// Where in the stream the buffer begins.
    base: u64,
    /// Decoders whose data continues past the last window.
    open: Vec<OpenLayer>,
    /// The first finding, if any.
    verdict: Option<Finding>,
    /// Findings are replaced where they can be.
    redaction: Option<Box<Redaction>>,
}

/// Data that a decoder still reads, and the stream of what it decodes to.
#[derive(Debug)]
struct OpenLayer {
    decoder: OpenDecoder,
    inside: Box<LayerStream>,
}

impl LayerStream {
    pub(super) fn new(engine: Arc<Engine>, path: Option<String>) -> Self {
        let (layers, buffer, open) = Default::default();
        Self { engine, path, layers, origin: 0, buffer, seen: 0, base: 0, open, verdict: None, redaction: None }
    }

    /// A stream whose findings are replaced where they can be.
    pub(super) fn redacting(engine: Arc<Engine>) -> Self {
        Self { redaction: Some(Box::default()), ..Self::new(engine, None) }
    }

    /// What has left the window since the last call, redacted.
    pub(super) fn take_out(&mut self) -> Vec<u8> {
        self.redaction.as_mut().map(|redaction| std::mem::take(&mut redaction.out)).unwrap_or_default()
    }

    /// What was replaced since the last call.
    pub(super) fn take_redacted(&mut self) -> Vec<Redacted> {
        self.redaction.as_mut().map(|redaction| std::mem::take(&mut redaction.done)).unwrap_or_default()
    }

    /// The stream of what an encoding in this one hides.
    fn inside(&self, name: &'static str, origin: u64) -> Self {
        let layers: Vec<_> = self.layers.iter().copied().chain([name]).collect();
        let verdict = (layers.len() > MAX_DEPTH).then(|| Finding::not_scannable(origin, "nested too deep"));
        Self { layers, origin, verdict, ..Self::new(Arc::clone(&self.engine), self.path.clone()) }
    }

    /// The verdict so far.
    pub(super) fn verdict(&self) -> Option<&Finding> {
        self.verdict.as_ref()
    }

    /// Scans each window as soon as it is full. `budget`: decoded bytes that may still be produced, shared by all layers.
    pub(super) fn push(&mut self, mut bytes: &[u8], budget: &mut u64) {
        while self.verdict.is_none() && !bytes.is_empty() {
            let room = STEP - (self.buffer.len() - self.seen);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() - self.seen == STEP {
                self.scan_window(true, budget);
            }
        }
    }

    /// The stream ends: scans what no window has covered yet, then finishes the layers inside. The first finding stands. A window that was
    /// just full is not scanned again: only what its decoders left open could still change.
    pub(super) fn finish(&mut self, budget: &mut u64) {
        let unsettled = self.redaction.as_ref().is_some_and(|redaction| redaction.unsettled);
        if self.verdict.is_none() && (self.buffer.len() > self.seen || unsettled) {
            self.scan_window(false, budget);
        }
        for mut layer in std::mem::take(&mut self.open) {
            if self.verdict.is_none() {
                layer.finish(budget);
                self.verdict = layer.inside.verdict;
            }
        }
        if let Some(redaction) = &mut self.redaction {
            redaction.leave(&self.buffer);
        }
    }

    /// How many bytes from the beginning were seen whole, also in what was decoded so far.
    pub(super) fn safe_len(&self) -> u64 {
        let own = if self.seen == 0 { 0 } else { self.base };
        self.open.iter().map(OpenLayer::safe_len).fold(own, u64::min)
    }

    /// Scans the buffer, and forgets all of it but the end.
    fn scan_window(&mut self, more: bool, budget: &mut u64) {
        let end = self.base + self.buffer.len() as u64;
        // Decoders left open by the last window come first, so that a base64 run that one of them reads is not reported again.
        let run_went_on = self.open.iter().any(|layer| layer.decoder.is_base64());
        for layer in &mut self.open {
            layer.feed(&self.buffer[self.seen..], end, budget);
            self.verdict = self.verdict.take().or(layer.inside.verdict.clone());
        }
        if self.verdict.is_none() {
            let open = self.open.iter().map(|layer| layer.decoder.at).collect();
            let run_goes_on = self.open.iter().any(|layer| layer.decoder.is_base64());
            let edge = more.then_some(WindowEdge { open, run_went_on, run_goes_on });
            let mut buffer = std::mem::take(&mut self.buffer);
            self.verdict = match self.redaction.take() {
                None => self.scan(&buffer, edge.as_ref(), budget).map(|hit| hit.finding),
                Some(mut redaction) => {
                    let engine = Arc::clone(&self.engine);
                    let is_clean = |text: &[u8]| WindowScan::new(&engine, None, limits::budget(0), 0).view(text).is_ok();
                    let window = Window { bytes: &mut buffer, base: self.base, more };
                    let verdict = redaction.settle(window, |text| self.scan(text, edge.as_ref(), budget), is_clean);
                    self.redaction = Some(redaction);
                    verdict
                }
            };
            self.buffer = buffer;
        }
        self.open.retain(|layer| !layer.decoder.is_ended());
        let overlap = self.buffer.len().min(OVERLAP);
        let left = self.buffer.len() - overlap;
        if let Some(redaction) = &mut self.redaction {
            redaction.leave(&self.buffer[..left]);
        }
        self.base += left as u64;
        self.buffer.drain(..left);
        self.seen = overlap;
    }

    fn scan(&mut self, bytes: &[u8], edge: Option<&WindowEdge>, budget: &mut u64) -> Option<Hit> {
        let mut scan = WindowScan::new(&self.engine, self.path.as_deref(), *budget, self.base);
        scan.below(&self.layers, self.origin);
        if let Some(edge) = edge {
            scan.goes_on(edge);
        }
        let result = scan.view(bytes);
        *budget = scan.budget;
        let unfinished = std::mem::take(&mut scan.unfinished);
        let whole = |finding| Some(Hit { finding, exact: None });
        match result {
            Ok(()) => {}
            Err(Stop::Found(hit)) => return Some(*hit),
            Err(Stop::NotScannable(why)) => return whole(Finding::not_scannable(self.base, why)),
        }
        let end = self.base + bytes.len() as u64;
        for Unfinished { at, data, encoding } in unfinished {
            let at = self.base + at as u64;
            let origin = if self.layers.is_empty() { at } else { self.origin };
            let inside = Box::new(self.inside(encoding.name(), origin));
            let mut layer = OpenLayer { decoder: OpenDecoder::new(encoding, at), inside };
            layer.feed(&bytes[data..], end, budget);
            let verdict = layer.inside.verdict.clone();
            self.open.push(layer);
            if let Some(finding) = verdict {
                return whole(finding);
            }
        }
        None
    }
}

impl OpenLayer {
    /// Decodes bytes that end at `end` in the stream around this layer.
    fn feed(&mut self, bytes: &[u8], end: u64, budget: &mut u64) {
        let mut read = end - bytes.len() as u64;
        let mut out = Vec::new();
        for chunk in bytes.chunks(CHUNK_SIZE) {
            if self.decoder.is_ended() || self.inside.verdict.is_some() {
                return;
            }
            out.clear();
            read += chunk.len() as u64;
            let fed = self.decoder.feed(chunk, read, &mut out, *budget);
            self.push(&out, fed, budget);
        }
        self.decoder.forget(self.inside.safe_len());
    }

    /// The end of the stream around this layer.
    fn finish(&mut self, budget: &mut u64) {
        if !self.decoder.is_ended() {
            let mut out = Vec::new();
            self.decoder.finish(&mut out);
            self.push(&out, Fed::Ended, budget);
        }
    }

    fn push(&mut self, out: &[u8], fed: Fed, budget: &mut u64) {
        match budget.checked_sub(out.len() as u64) {
            Some(left) if fed != Fed::Full => *budget = left,
            _ => self.inside.verdict = Some(Finding::not_scannable(self.inside.origin, "expands too much")),
        }
        self.inside.push(out, budget);
        if fed == Fed::Ended {
            self.inside.finish(budget);
        }
    }

    fn safe_len(&self) -> u64 {
        self.decoder.safe_len(self.inside.safe_len())
    }
}
