//! One scan: the text as it came, then, layer by layer, what its encodings hide.

use crate::Finding;
use crate::decode::{self, base32, base64, escape::Escape, fold, hex, inflate, region, utf16};
use crate::engine::Engine;
use crate::rules::Match;

/// The most layers of encoding that are undone. What is still encoded below them is not scannable.
pub(crate) const DEPTH: usize = 8;

/// The fewest digits of a run that is decoded: sixteen bytes in base64, and less is no token.
const SHORTEST_RUN: usize = 24;

/// Why a scan ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    Found(Finding),
    /// The budget or the depth is used up.
    NotScannable(&'static str),
}

/// The state of one scan.
pub(crate) struct Job<'e> {
    pub(crate) engine: &'e Engine,
    pub(crate) path: Option<&'e str>,
    /// How many decoded bytes may still be made.
    pub(crate) budget: u64,
    /// Where in all of the raw bytes the present window begins.
    pub(crate) base: u64,
    /// The layers that led here, outermost first, and where in the raw bytes the outermost began.
    layers: Vec<&'static str>,
    origin: u64,
}

impl<'e> Job<'e> {
    pub(crate) fn new(engine: &'e Engine, path: Option<&'e str>, budget: u64) -> Self {
        Self { engine, path, budget, base: 0, layers: Vec::new(), origin: 0 }
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
        self.runs(bytes)?;
        for escape in Escape::ALL {
            region::each(
                bytes,
                |from| escape.next(bytes, from),
                |range| self.layer(escape.name(), range.start, |out| escape.decode(&bytes[range.clone()], out)),
            )?;
        }
        region::each(
            bytes,
            |from| fold::next(bytes, from),
            |range| self.layer("unicode", range.start, |out| fold::decode(&bytes[range.clone()], out)),
        )?;
        self.wide(bytes)?;
        self.compressed(bytes)
    }

    /// Decodes one layer, and scans it.
    fn layer(&mut self, name: &'static str, at: usize, decode: impl FnOnce(&mut Vec<u8>)) -> Result<(), Stop> {
        let mut out = Vec::new();
        decode(&mut out);
        self.inside(name, at, &out)
    }

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

    /// The rules, at the places where their keywords stand.
    fn rules(&self, bytes: &[u8]) -> Result<(), Stop> {
        let engine = self.engine;
        // Places that one rule asks for overlap: they are joined, so that no byte is read twice for it.
        let mut open: Vec<(u16, usize, usize)> = Vec::new();
        engine.keywords.search(bytes, |keyword, at| {
            for &index in &engine.by_keyword[usize::from(keyword)] {
                let rule = &engine.rules[usize::from(index)];
                if rule.anchored {
                    self.anchored(index, bytes, at)?;
                    continue;
                }
                let (start, end) = (at.saturating_sub(rule.reach.0), (at + rule.reach.1 + 64).min(bytes.len()));
                match open.iter_mut().find(|(other, _, _)| *other == index) {
                    Some((_, from, to)) if start <= *to => (*from, *to) = (start.min(*from), end.max(*to)),
                    Some(place) => {
                        let (_, from, to) = std::mem::replace(place, (index, start, end));
                        self.between(index, bytes, from, to)?;
                    }
                    None => open.push((index, start, end)),
                }
            }
            Ok(())
        })?;
        for (index, start, end) in open {
            self.between(index, bytes, start, end)?;
        }
        engine.everywhere.iter().try_for_each(|&index| self.between(index, bytes, 0, bytes.len()))
    }

    /// A rule whose match begins with its keyword.
    fn anchored(&self, index: u16, bytes: &[u8], at: usize) -> Result<(), Stop> {
        let rule = &self.engine.rules[usize::from(index)];
        let Some(regex) = rule.regex() else { return Ok(()) };
        let text = &bytes[at..(at + rule.reach.1).min(bytes.len())];
        let Some(whole) = regex.find(text) else { return Ok(()) };
        let secret = match rule.secret_group {
            None => (whole.start(), whole.end()),
            Some(group) => match regex.captures(text).and_then(|captures| captures.get(group)) {
                Some(part) => (part.start(), part.end()),
                None => return Ok(()),
            },
        };
        self.judge(index, Match { bytes, whole: (at, at + whole.end()), secret: (at + secret.0, at + secret.1), path: self.path })
    }

    /// A rule whose match stands somewhere between two places.
    fn between(&self, index: u16, bytes: &[u8], start: usize, end: usize) -> Result<(), Stop> {
        let rule = &self.engine.rules[usize::from(index)];
        if rule.path.as_ref().is_some_and(|path| !self.path.is_some_and(|p| path.is_match(p.as_bytes()))) {
            return Ok(());
        }
        let Some(regex) = rule.regex() else { return Ok(()) };
        let text = &bytes[..end];
        let mut from = start;
        while let Some(whole) = regex.find_at(text, from) {
            let mut secret = (whole.start(), whole.end());
            if regex.captures_len() > 1
                && let Some(captures) = regex.captures_at(text, whole.start())
            {
                let part = match rule.secret_group {
                    Some(group) => captures.get(group),
                    None => captures.iter().skip(1).flatten().find(|part| !part.is_empty()),
                };
                secret = part.map_or(secret, |part| (part.start(), part.end()));
            }
            self.judge(index, Match { bytes, whole: (whole.start(), whole.end()), secret, path: self.path })?;
            from = whole.end().max(whole.start() + 1);
            if from > text.len() {
                break;
            }
        }
        Ok(())
    }

    fn judge(&self, index: u16, found: Match<'_>) -> Result<(), Stop> {
        let rule = &self.engine.rules[usize::from(index)];
        if !rule.holds(&found) || self.engine.allow.iter().any(|allow| allow.holds(&found)) {
            return Ok(());
        }
        Err(Stop::Found(self.finding(&rule.id, found.secret.0)))
    }

    /// Runs of digits: base64, base32, hexadecimal.
    fn runs(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut at = 0;
        let mut joined = Vec::new();
        while let Some(found) = bytes[at..].iter().position(|&b| base64::is_digit(b)) {
            let start = at + found;
            let mut end = start + bytes[start..].iter().take_while(|&&b| base64::is_digit(b)).count();
            let mut run = &bytes[start..end];
            if run.len() >= 16 {
                // A wrapped text goes on behind a line end, however that is written.
                joined.clear();
                loop {
                    let gap = joint(&bytes[end..]);
                    let next = end + gap + bytes[end + gap..].iter().take_while(|&&b| base64::is_digit(b)).count();
                    if gap == 0 || next - end - gap < 4 {
                        break;
                    }
                    if joined.is_empty() {
                        joined.extend_from_slice(run);
                    }
                    joined.extend_from_slice(&bytes[end + gap..next]);
                    end = next;
                }
                if !joined.is_empty() {
                    run = &joined;
                }
                if run.len() >= SHORTEST_RUN {
                    self.run(run, start)?;
                }
            }
            at = end;
        }
        self.pairs(bytes)
    }

    fn run(&mut self, run: &[u8], at: usize) -> Result<(), Stop> {
        for shift in 0..4 {
            self.layer("base64", at, |out| base64::run(&run[shift..], out))?;
        }
        for digits in run.split(|b| !b.is_ascii_hexdigit()).filter(|digits| digits.len() >= 32) {
            self.layer("hex", at, |out| hex::run(digits, out))?;
            self.layer("hex", at, |out| hex::run(&digits[1..], out))?;
        }
        for digits in run.split(|&b| !base32::is_digit(b)).filter(|digits| digits.len() >= 32) {
            for shift in 0..8 {
                self.layer("base32", at, |out| base32::run(&digits[shift..], out))?;
            }
        }
        for digits in run.split(|b| !b.is_ascii_alphanumeric()) {
            for &index in &self.engine.at_runs {
                if self.engine.rules[usize::from(index)].run.is_some_and(|(least, most)| (least..=most).contains(&digits.len())) {
                    self.between(index, digits, 0, digits.len())?;
                }
            }
        }
        Ok(())
    }

    /// Hexadecimal pairs with separators.
    fn pairs(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut at = 0;
        while at + 36 < bytes.len() {
            // Twelve pairs take thirty-five bytes and more: every twelfth byte, one of three is a digit.
            let Some(start) = (at..at + 3).find(|&i| pair_at(bytes, i)) else {
                at += 3;
                continue;
            };
            let mut out = Vec::new();
            let end = hex::separated(bytes, start, &mut out);
            if out.len() >= 12 {
                self.inside("hex", start, &out)?;
            }
            at = end.max(at + 1);
        }
        Ok(())
    }

    /// UTF-16.
    fn wide(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut at = 0;
        while let Some(zero) = memchr::memchr(0, &bytes[at..]) {
            let mut out = Vec::new();
            let end = utf16::around(bytes, at + zero, &mut out);
            if out.len() >= 16 {
                self.inside("utf-16", at + zero, &out)?;
            }
            at = end;
        }
        Ok(())
    }

    /// Compressed data.
    fn compressed(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut from = 0;
        while let Some(start) = inflate::next(bytes, from) {
            let cap = usize::try_from(self.budget).unwrap_or(usize::MAX);
            let (text, full) = inflate::decode(start.coding, &bytes[start.data..], cap);
            if full {
                return Err(Stop::NotScannable("expands too much"));
            }
            if !text.is_empty() {
                self.inside(start.coding.name(), start.at, &text)?;
            }
            from = start.at + 2;
        }
        Ok(())
    }
}

/// The length of what may stand between two lines of one wrapped text: a line end, escaped or not, quotes, a comma or
/// plus sign between pieces, marks of quoting.
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

/// True where a pair of digits, a separator, and another pair stand.
fn pair_at(bytes: &[u8], at: usize) -> bool {
    let digits = |at: usize| decode::octet(bytes, at).is_some();
    digits(at)
        && bytes.get(at + 2).is_some_and(|b| matches!(b, b':' | b'-' | b' ' | b',' | b';' | b'.' | b'_' | b'\n' | b'\r'))
        && (digits(at + 3) || digits(at + 4) || digits(at + 5))
}
