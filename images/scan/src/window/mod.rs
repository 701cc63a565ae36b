//! The scan of one window: the text as it came, then, layer by layer, what its encodings hide.

mod layers;
mod matching;
mod runs;
mod text;

use std::cell::RefCell;
use std::ops::Range;

use crate::decode::inflate::Coding;
use crate::decode::{escape::Escape, fold, region};
use crate::engine::Engine;
use crate::finding::{BOTTLE_SECRET, Finding, HONEYTOKEN};
use crate::known::Known;
use crate::limits::MAX_DEPTH;

/// Why a scan ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    Found(Box<Hit>),
    /// The budget or the depth is used up.
    NotScannable(&'static str),
}

/// A finding, and its place if it stands in the window as it came.
#[derive(Debug)]
pub(crate) struct Hit {
    pub(crate) finding: Finding,
    pub(crate) exact: Option<Exact>,
}

/// Where a value stands in the window, to the byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exact {
    /// What the rule takes for the value.
    pub(crate) value: Range<usize>,
    /// All of the token: an expression may end before it does.
    pub(crate) whole: Range<usize>,
    /// The value is the beginning of a block of lines.
    pub(crate) is_block: bool,
}

impl Stop {
    /// The same, found in a text that was made of the window.
    fn without_place(self) -> Self {
        match self {
            Self::Found(hit) => Hit { exact: None, ..*hit }.into(),
            other => other,
        }
    }
}

impl From<Hit> for Stop {
    fn from(hit: Hit) -> Self {
        Self::Found(Box::new(hit))
    }
}

/// An exemption that holds in one text: what `rule` finds is no finding where it is a part of `within`, whatever hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Exempt {
    /// The rule's id.
    pub rule: String,
    /// The value, or a text that contains it.
    pub within: Vec<u8>,
}

impl std::fmt::Debug for Exempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Exempt({}, {} bytes)", self.rule, self.within.len())
    }
}

/// What is known of a stream that goes on behind a window.
#[derive(Debug)]
pub(crate) struct WindowEdge {
    /// Where the data began that open decoders read.
    pub(crate) open: Vec<u64>,
    /// An open decoder was reading a base64 run when the window began, and when it ended.
    pub(crate) run_went_on: bool,
    pub(crate) run_goes_on: bool,
}

/// Encoded data that goes on behind a window: its caller decodes it with what follows.
#[derive(Debug)]
pub(crate) struct Unfinished {
    /// Where it begins in the window.
    pub(crate) at: usize,
    /// Where its data begins, behind an archive's header.
    pub(crate) data: usize,
    pub(crate) encoding: Encoding,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Encoding {
    Base64,
    Compressed(Coding),
}

impl Encoding {
    /// Its name in [`Finding::encodings`].
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Base64 => "base64",
            Self::Compressed(coding) => coding.name(),
        }
    }
}

/// The scan of one window.
pub(crate) struct WindowScan<'e> {
    engine: &'e Engine,
    /// The name of the file that is scanned, for rules that ask for one.
    path: Option<&'e str>,
    exempt: &'e [Exempt],
    /// Where findings of rules are listed, instead of ending the scan.
    list: Option<&'e RefCell<Vec<(String, Known)>>>,
    /// How many bytes may still be decoded.
    pub(crate) budget: u64,
    /// Where in all of the raw bytes the present window begins.
    base: u64,
    /// The layers that led here, outermost first, and where in the raw bytes the outermost began.
    layers: Vec<&'static str>,
    origin: u64,
    /// The layers of the stream to which the window belongs.
    floor: usize,
    /// When the stream goes on behind the window.
    edge: Option<&'e WindowEdge>,
    pub(crate) unfinished: Vec<Unfinished>,
    /// Buffers to use again.
    buffers: Vec<Vec<u8>>,
}

impl<'e> WindowScan<'e> {
    pub(crate) fn new(engine: &'e Engine, path: Option<&'e str>, budget: u64, base: u64) -> Self {
        Self {
            engine,
            path,
            exempt: &[],
            list: None,
            budget,
            base,
            layers: Vec::new(),
            origin: 0,
            floor: 0,
            edge: None,
            unfinished: Vec::new(),
            buffers: Vec::new(),
        }
    }

    /// With these exemptions.
    pub(crate) fn exempting(self, exempt: &'e [Exempt]) -> Self {
        Self { exempt, ..self }
    }

    /// Lists what the rules find, and goes on.
    pub(crate) fn listing(self, list: &'e RefCell<Vec<(String, Known)>>) -> Self {
        Self { list: Some(list), ..self }
    }

    /// The window belongs to a stream that is itself decoded.
    pub(crate) fn below(&mut self, layers: &[&'static str], origin: u64) {
        self.layers.extend_from_slice(layers);
        (self.floor, self.origin) = (layers.len(), origin);
    }

    /// The stream goes on behind the window.
    pub(crate) fn goes_on(&mut self, edge: &'e WindowEdge) {
        self.edge = Some(edge);
    }

    /// What is known about that, if the text under scan is the window itself.
    fn edge(&self) -> Option<&'e WindowEdge> {
        self.edge.filter(|_| self.layers.len() == self.floor)
    }

    /// Scans one text and all that it hides.
    pub(crate) fn view(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        if let Some(known) = self.engine.filter.search(bytes) {
            let rule = if known.honey { HONEYTOKEN } else { BOTTLE_SECRET };
            let mut finding = self.finding(rule, known.at);
            finding.encodings.extend(Some(known.kind).filter(|kind| !kind.is_empty()));
            let value = known.at..known.at + known.length;
            let exact = Exact { whole: value.clone(), value, is_block: false };
            return Err(Hit { exact: Some(exact).filter(|_| self.layers.is_empty() && known.is_whole()), finding }.into());
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
        if self.layers.is_empty() || text::is_text(bytes) {
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

    /// Decodes one layer, and scans it if `decode` returns true.
    fn layer(&mut self, name: &'static str, at: usize, decode: impl FnOnce(&mut Vec<u8>) -> bool) -> Result<(), Stop> {
        let mut out = self.buffers.pop().unwrap_or_default();
        out.clear();
        let result = if decode(&mut out) { self.inside(name, at, &out) } else { Ok(()) };
        self.buffers.push(out);
        result
    }

    /// Scans one layer.
    fn inside(&mut self, name: &'static str, at: usize, text: &[u8]) -> Result<(), Stop> {
        if self.layers.len() == MAX_DEPTH {
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
