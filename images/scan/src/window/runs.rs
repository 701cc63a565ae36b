//! Runs of base64 characters, of which base32 and hexadecimal digits are a part, and pairs of hexadecimal digits.

use std::ops::Range;

use super::text::has_text;
use super::{Encoding, Stop, Unfinished, WindowScan};
use crate::decode::{base32, base64, hex, magic};
use crate::prefilter;

/// The fewest characters of a run that is decoded: eighteen bytes in base64, and less is no token.
const MIN_RUN: usize = 24;

/// From this many characters on compressed data may begin anywhere in a run.
const LONG_RUN: usize = 128;

/// From this many characters on, as in a picture, only the alignment of the run's beginning is decoded as a whole; the others are
/// decoded in blocks that hold text.
const VERY_LONG_RUN: usize = 16 << 10;

/// From this many characters on a run may be a compressed token.
const MIN_COMPRESSED_RUN: usize = 36;

/// The fewest hexadecimal pairs that could be a token.
const MIN_PAIRS: usize = 12;

impl WindowScan<'_> {
    /// Decodes runs, and the text that the runs of successive lines are together.
    pub(super) fn runs(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut joined = self.buffers.pop().unwrap_or_default();
        let mut at = 0;
        for Range { mut start, mut end } in prefilter::runs::<8>(bytes, base64::is_base64) {
            // The line of a text that has been read.
            if end <= at {
                continue;
            }
            // The letter of an escaped line end is none of the run's.
            if start > 0 && bytes[start - 1] == b'\\' && matches!(bytes[start], b'n' | b'r' | b't') {
                start += 1;
            }
            let first = end - start;
            let (mut last, mut width) = (0, 0);
            joined.clear();
            // Only the last line of a wrapped text is shorter than the one behind its beginning.
            while last >= width {
                let gap = joint(&bytes[end..]);
                let next = base64::end(bytes, end + gap);
                if gap == 0 || next == end + gap {
                    break;
                }
                if joined.is_empty() {
                    joined.extend_from_slice(&bytes[start..end]);
                }
                last = next - end - gap;
                width = if width == 0 { last } else { width };
                joined.extend_from_slice(&bytes[end + gap..next]);
                end = next;
            }
            let run = if joined.is_empty() { &bytes[start..end] } else { &joined };
            let elsewhere = end == bytes.len() && run.len() >= LONG_RUN && self.is_unfinished(start) || self.went_on(start);
            self.run(run, start, elsewhere)?;
            // What follows a text may look like a line of it, and would spoil its last group.
            for shorter in [run.len() - last, first] {
                if last > 0 && last < first && shorter < run.len() {
                    self.run(&joined[..shorter], start, false)?;
                }
            }
            at = end;
        }
        self.buffers.push(joined);
        Ok(())
    }

    /// A run reaches the end of the window: what decodes it goes on, unless the run itself is one that goes on.
    fn is_unfinished(&mut self, start: usize) -> bool {
        let Some(edge) = self.edge() else { return false };
        if !edge.run_goes_on {
            self.unfinished.push(Unfinished { at: start, data: start, encoding: Encoding::Base64 });
        }
        true
    }

    /// True for the end of a run that began before the window; a wrapped one may be cut between its lines.
    fn went_on(&self, start: usize) -> bool {
        const BETWEEN: usize = 16;
        start <= BETWEEN && self.edge().is_some_and(|edge| edge.run_went_on)
    }

    /// Decodes one run in every way, or in every way but the obvious one, if that is done elsewhere.
    fn run(&mut self, run: &[u8], at: usize, elsewhere: bool) -> Result<(), Stop> {
        if run.len() < MIN_RUN {
            return Ok(());
        }
        let alignments = match run.len() {
            ..LONG_RUN => base64::ALIGNMENTS.ascii(run),
            VERY_LONG_RUN.. => u8::from(!elsewhere),
            _ => base64::ALIGNMENTS.ascii(run) | base64::ALIGNMENTS.compressed(run),
        };
        if run.len() >= VERY_LONG_RUN {
            self.blocks(run, at, elsewhere)?;
        }
        for shift in (0..4).filter(|shift| alignments >> shift & 1 == 1) {
            self.layer("base64", at, |out| {
                base64::run(&run[shift..], out);
                has_text(out) || run.len() >= LONG_RUN && magic::starts(out, true).next().is_some()
            })?;
        }
        if run.len() < LONG_RUN {
            self.compressed_run(run, at)?;
            self.words(run)?;
        }
        for digits in prefilter::runs::<16>(run, hex::is_digit) {
            for shift in 0..2 {
                self.layer("hex", at, |out| {
                    hex::run(&run[digits.clone()][shift..], out);
                    has_text(out)
                })?;
            }
        }
        let upper = prefilter::runs::<16>(run, base32::is_upper);
        for digits in upper.chain(prefilter::runs::<16>(run, base32::is_lower)) {
            let digits = &run[digits];
            let alignments = base32::ALIGNMENTS.ascii(digits) | base32::ALIGNMENTS.compressed(digits);
            for shift in (0..8).filter(|shift| alignments >> shift & 1 == 1) {
                self.layer("base32", at, |out| {
                    base32::run(&digits[shift..], out);
                    has_text(out)
                })?;
            }
        }
        Ok(())
    }

    /// Compressed data in a short run, from its beginning or from behind a slash.
    fn compressed_run(&mut self, run: &[u8], at: usize) -> Result<(), Stop> {
        if run.len() < MIN_COMPRESSED_RUN {
            return Ok(());
        }
        let slashes = memchr::memchr_iter(b'/', run).map(|slash| slash + 1);
        for start in std::iter::once(0).chain(slashes).filter(|&start| magic::in_base64(&run[start..])) {
            self.layer("base64", at, |out| {
                base64::run(&run[start..], out);
                true
            })?;
        }
        Ok(())
    }

    /// Rules that have no keyword, but ask for words of a certain length.
    fn words(&self, run: &[u8]) -> Result<(), Stop> {
        for &index in &self.engine.at_runs {
            let Some((least, most)) = self.engine.rules[usize::from(index)].run else { continue };
            if run.len() < least {
                continue;
            }
            for word in run.split(|b| !b.is_ascii_alphanumeric()).filter(|word| (least..=most).contains(&word.len())) {
                self.between(index, word, 0, word.len()).map_err(Stop::without_place)?;
            }
        }
        Ok(())
    }

    /// Hexadecimal pairs with something between them.
    pub(super) fn pairs(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut at = 0;
        for place in prefilter::samples(bytes, hex::may_be_pairs) {
            let Some(inside) = hex::pair(bytes, at.max(place), place + 8) else { continue };
            let start = hex::first(bytes, at, inside);
            let mut end = start;
            self.layer("hex", start, |out| {
                end = hex::separated(bytes, start, out);
                out.len() >= MIN_PAIRS
            })?;
            at = end.max(start + 1);
        }
        Ok(())
    }
}

/// The length of what may stand between two lines of one wrapped text: a line end, escaped or not, quotes, a comma
/// between strings, marks of quoting.
fn joint(bytes: &[u8]) -> usize {
    let mut at = 0;
    let mut broken = false;
    while at < 16 {
        match &bytes[at..] {
            [b'\\', b'n' | b'r', ..] => (at, broken) = (at + 2, true),
            [b'\\', b'/', ..] => (at, broken) = (at + 1, true),
            [b'\r' | b'\n', ..] => (at, broken) = (at + 1, true),
            [b' ' | b'\t' | b'"' | b'\'' | b',' | b'>' | b'\\', ..] => at += 1,
            _ => break,
        }
    }
    if broken { at } else { 0 }
}
