//! Encoded data that goes on beyond a window.

use super::Inner;
use crate::decode::base64::Continued;
use crate::decode::inflate::{Coding, Fed, Inflater};
use crate::{Finding, job};

/// So many encoded bytes are decoded before their place is marked: the bound of what is held back too much.
const PIECE: usize = 8 << 10;

/// What undoes the encoding.
#[derive(Debug)]
pub(crate) enum Decoder {
    Inflate(&'static str, Box<Inflater>),
    Base64(Continued),
}

impl Decoder {
    pub(crate) fn of(coding: Coding) -> Self {
        Self::Inflate(coding.name(), Box::new(Inflater::new(coding)))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Inflate(name, _) => name,
            Self::Base64(_) => "base64",
        }
    }
}

/// Encoded data under way, and the stream of what it decodes to.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Where it began in the stream of its own layer.
    pub(crate) at: u64,
    decoder: Decoder,
    inside: Box<Inner>,
    /// Ended here, in the stream of its own layer.
    ended: bool,
    /// How far its own layer was fed, and how much had come out then; the oldest first.
    marks: Vec<(u64, u64)>,
    made: u64,
}

impl Opening {
    /// Data that begins at `at`.
    pub(super) fn new(outer: &Inner, at: u64, origin: u64, decoder: Decoder) -> Self {
        let layers = outer.layers.iter().copied().chain([decoder.name()]).collect();
        let mut inside = Box::new(Inner::new(outer.scanner.clone(), outer.path.clone(), layers, origin));
        if inside.layers.len() > job::DEPTH {
            inside.verdict = Some(Finding::not_scannable(origin, "nested too deep"));
        }
        Self { at, decoder, inside, ended: false, marks: vec![(at, 0)], made: 0 }
    }

    pub(super) fn verdict(&self) -> Option<&Finding> {
        self.inside.verdict()
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// True for a run of base64 that had not ended.
    pub(crate) fn is_run(&self) -> bool {
        !self.ended && matches!(self.decoder, Decoder::Base64(_))
    }

    /// Decodes bytes of its own layer, of which the last stands before `end`.
    pub(super) fn feed(&mut self, bytes: &[u8], end: u64, budget: &mut u64) {
        let mut fed = end - bytes.len() as u64;
        let mut out = Vec::new();
        for piece in bytes.chunks(PIECE) {
            if self.ended || self.verdict().is_some() {
                return;
            }
            out.clear();
            let room = usize::try_from(*budget).unwrap_or(usize::MAX);
            let state = match &mut self.decoder {
                Decoder::Inflate(_, inflater) => inflater.feed(piece, &mut out, room),
                Decoder::Base64(run) => {
                    if run.feed(piece, &mut out) {
                        Fed::More
                    } else {
                        Fed::Ended
                    }
                }
            };
            fed += piece.len() as u64;
            self.made += out.len() as u64;
            self.marks.push((fed, self.made));
            self.take(&out, state, budget);
        }
        let safe = self.inside.safe_len();
        let useless = self.marks.iter().take_while(|(_, made)| *made <= safe).count().saturating_sub(1);
        self.marks.drain(..useless);
    }

    /// The end of its own layer.
    pub(super) fn finish(&mut self, budget: &mut u64) {
        let mut out = Vec::new();
        if let Decoder::Base64(run) = &mut self.decoder {
            run.finish(&mut out);
        }
        if !self.ended {
            self.take(&out, Fed::Ended, budget);
        }
    }

    fn take(&mut self, out: &[u8], state: Fed, budget: &mut u64) {
        match budget.checked_sub(out.len() as u64) {
            Some(left) if state != Fed::Full => *budget = left,
            _ => self.inside.verdict = Some(Finding::not_scannable(self.inside.origin, "expands too much")),
        }
        self.inside.push(out, budget);
        if state == Fed::Ended {
            self.inside.finish(budget);
            self.ended = true;
        }
    }

    /// How far its own layer can be let go: as far as what came out of it was seen whole.
    pub(super) fn safe_len(&self) -> u64 {
        if self.ended {
            return u64::MAX;
        }
        let safe = self.inside.safe_len();
        self.marks.iter().take_while(|(_, made)| *made <= safe).last().map_or(self.at, |(fed, _)| *fed)
    }
}
