//! One scan: the text as it came, then, layer by layer, what its encodings hide.

mod layers;
mod matching;
mod runs;

use crate::Finding;
use crate::decode::{escape::Escape, fold, region};
use crate::engine::Engine;
use crate::stream::Decoder;

/// The most layers of encoding that are undone. What is still encoded below them is not scannable.
pub(crate) const DEPTH: usize = 8;

/// Why a scan ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    Found(Finding),
    /// The budget or the depth is used up.
    NotScannable(&'static str),
}

/// What is being decoded while a stream goes on behind a window.
#[derive(Debug)]
pub(crate) struct Beyond {
    /// Where each began.
    pub(crate) open: Vec<u64>,
    /// A run of base64 was under way when the window began, and when it ended.
    pub(crate) run_went_on: bool,
    pub(crate) run_goes_on: bool,
}

/// The state of one scan.
pub(crate) struct Job<'e> {
    engine: &'e Engine,
    /// The name of the file that is scanned, for rules that ask for one.
    path: Option<&'e str>,
    /// How many decoded bytes may still be made.
    pub(crate) budget: u64,
    /// Where in all of the raw bytes the present window begins.
    base: u64,
    /// The layers that led here, outermost first, and where in the raw bytes the outermost began.
    layers: Vec<&'static str>,
    origin: u64,
    /// The layers of the stream to which the window belongs.
    floor: usize,
    /// When the stream goes on behind the window.
    beyond: Option<Beyond>,
    /// What goes on behind the window: where it begins, where its data begins, and its decoder.
    pub(crate) openings: Vec<(usize, usize, Decoder)>,
    /// Memory to use again.
    buffers: Vec<Vec<u8>>,
}

impl<'e> Job<'e> {
    pub(crate) fn new(engine: &'e Engine, path: Option<&'e str>, budget: u64, base: u64) -> Self {
        Self {
            engine,
            path,
            budget,
            base,
            layers: Vec::new(),
            origin: 0,
            floor: 0,
            beyond: None,
            openings: Vec::new(),
            buffers: Vec::new(),
        }
    }

    /// The window belongs to a stream that is itself decoded.
    pub(crate) fn below(&mut self, layers: &[&'static str], origin: u64) {
        self.layers.extend_from_slice(layers);
        (self.floor, self.origin) = (layers.len(), origin);
    }

    /// The stream goes on behind the window.
    pub(crate) fn goes_beyond(&mut self, beyond: Beyond) {
        self.beyond = Some(beyond);
    }

    /// What is known about that, if the text in hand is the window itself.
    fn beyond(&self) -> Option<&Beyond> {
        self.beyond.as_ref().filter(|_| self.layers.len() == self.floor)
    }

    /// Scans one text and all that it hides.
    pub(crate) fn view(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        if let Some(known) = self.engine.filter.search(bytes) {
            let rule = if known.honey { crate::HONEYTOKEN } else { crate::BOTTLE_SECRET };
            let mut finding = self.finding(rule, known.at);
            finding.encodings.extend(Some(known.kind).filter(|kind| !kind.is_empty()));
            return Err(Stop::Found(finding));
        }
        self.rules(bytes)?;
        self.layers_of(bytes)
    }

    /// Everything that `bytes` hides.
    fn layers_of(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.runs(bytes)?;
        for escape in Escape::ALL {
            region::each(
                bytes,
                |from| escape.next(bytes, from),
                |range| {
                    self.layer(escape.name(), range.start, |out| {
                        escape.decode(&bytes[range.clone()], out);
                        out.len() < range.len()
                    })?;
                    if !escape.writes_characters() {
                        return Ok(());
                    }
                    self.layer(escape.name(), range.start, |out| {
                        escape.decode(&bytes[range.clone()], out);
                        Escape::narrow(out)
                    })
                },
            )?;
        }
        // Decoded bytes that are no text have no letters to dress up.
        if self.layers.is_empty() || layers::is_text(bytes) {
            region::each(
                bytes,
                |from| fold::next(bytes, from),
                |range| {
                    self.layer("unicode", range.start, |out| {
                        fold::decode(&bytes[range.clone()], out);
                        *out != bytes[range.clone()]
                    })
                },
            )?;
        }
        self.wide(bytes)?;
        self.pairs(bytes)?;
        self.compressed(bytes)
    }

    /// Decodes one layer, and scans it if `decode` says that it is worth it.
    fn layer(&mut self, name: &'static str, at: usize, decode: impl FnOnce(&mut Vec<u8>) -> bool) -> Result<(), Stop> {
        let mut out = self.buffers.pop().unwrap_or_default();
        out.clear();
        let result = if decode(&mut out) { self.inside(name, at, &out) } else { Ok(()) };
        self.buffers.push(out);
        result
    }

    /// Scans one layer.
    fn inside(&mut self, name: &'static str, at: usize, text: &[u8]) -> Result<(), Stop> {
        if self.layers.len() == DEPTH {
            return Err(Stop::NotScannable("nested too deep"));
        }
        self.budget = self.budget.checked_sub(text.len() as u64).ok_or(Stop::NotScannable("expands too much"))?;
        if self.layers.is_empty() {
            self.origin = self.base + at as u64;
        }
        self.layers.push(name);
        let result = self.view(text);
        self.layers.pop();
        result
    }

    fn finding(&self, rule: &str, at: usize) -> Finding {
        let offset = if self.layers.is_empty() { self.base + at as u64 } else { self.origin };
        Finding { rule: rule.to_owned(), offset, encodings: self.layers.clone() }
    }
}
