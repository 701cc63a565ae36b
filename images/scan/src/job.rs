//! One scan: the text as it came, then, layer by layer, what its encodings hide.

use crate::Finding;
use crate::decode::{base32, base64, escape::Escape, fold, hex, inflate, region, utf16};
use crate::engine::Engine;
use crate::rules::Match;
use crate::survey::{self, Survey};

/// The most layers of encoding that are undone. What is still encoded below them is not scannable.
pub(crate) const DEPTH: usize = 8;

/// The fewest digits of a run that is decoded: sixteen bytes in base64, and less is no token.
const SHORTEST_RUN: usize = 24;

/// From this many digits on a run is scanned whatever it decodes to: text may begin anywhere in it.
const LONG_RUN: usize = 128;

/// From this many digits on a run may be a compressed token.
const LONG_ENOUGH_TO_INFLATE: usize = 36;

/// The fewest digits of the first line of a wrapped text.
const SHORTEST_LINE: usize = 16;

/// The fewest hexadecimal pairs that could be a token.
const FEWEST_PAIRS: usize = 12;

/// The fewest units of UTF-16 that could be a token.
const FEWEST_UNITS: usize = 12;

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
    /// Memory to use again.
    surveys: Vec<Survey>,
    buffers: Vec<Vec<u8>>,
}

impl<'e> Job<'e> {
    pub(crate) fn new(engine: &'e Engine, path: Option<&'e str>, budget: u64) -> Self {
        Self { engine, path, budget, base: 0, layers: Vec::new(), origin: 0, surveys: Vec::new(), buffers: Vec::new() }
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
        let mut survey = self.surveys.pop().unwrap_or_default();
        survey.take(bytes);
        let result = self.layers_of(bytes, &survey);
        self.surveys.push(survey);
        result
    }

    /// Everything that `bytes` hides.
    fn layers_of(&mut self, bytes: &[u8], survey: &Survey) -> Result<(), Stop> {
        if !survey.runs.is_empty() {
            self.runs(bytes, &survey.runs)?;
        }
        for escape in Escape::ALL.into_iter().filter(|escape| survey.any(escape.flag())) {
            region::each(
                bytes,
                |from| survey.find(from, escape.flag(), |start, end| escape.next(bytes, start, end)),
                |range| {
                    self.layer(escape.name(), range.start, |out| {
                        escape.decode(&bytes[range.clone()], out);
                        out.len() < range.len()
                    })
                },
            )?;
        }
        // Decoded bytes that are no text have no letters to dress up.
        if survey.any(survey::HIGH) && (self.layers.is_empty() || is_text(bytes)) {
            region::each(
                bytes,
                |from| survey.find(from, survey::HIGH, |start, end| fold::next(bytes, start, end.min(bytes.len()))),
                |range| {
                    self.layer("unicode", range.start, |out| {
                        fold::decode(&bytes[range.clone()], out);
                        *out != bytes[range.clone()]
                    })
                },
            )?;
        }
        if survey.any(survey::ZERO) {
            self.wide(bytes, survey)?;
        }
        if !survey.pairs.is_empty() {
            self.pairs(bytes, &survey.pairs)?;
        }
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
        if !rule.may_begin(bytes, at) {
            return Ok(());
        }
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
    fn runs(&mut self, bytes: &[u8], places: &[u32]) -> Result<(), Stop> {
        let mut joined = self.buffers.pop().unwrap_or_default();
        let mut at = 0;
        for inside in places.iter().map(|&place| place as usize) {
            if inside < at {
                continue;
            }
            // A wrapped text began before, and goes on behind, a line end, however that is written.
            let mut start = base64::start(bytes, at, inside);
            while let Some(line) = line_before(bytes, at, start) {
                start = line;
            }
            // The letter of an escaped line end is none of the run's.
            if start > 0 && bytes[start - 1] == b'\\' && matches!(bytes[start], b'n' | b'r' | b't') {
                start += 1;
            }
            let mut end = base64::end(bytes, start);
            self.leads(bytes, start, end)?;
            let first = end - start;
            let (mut last, mut width) = (0, 0);
            joined.clear();
            // Only the last line of a wrapped text is shorter than the one behind its beginning.
            while first >= SHORTEST_LINE && last >= width {
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
            if run.len() >= SHORTEST_RUN {
                self.run(run, start)?;
            }
            // What follows a text may look like a line of it, and would spoil its last group.
            for shorter in [run.len() - last, first] {
                if last > 0 && last < first && shorter < run.len() && shorter >= SHORTEST_RUN {
                    self.run(&joined[..shorter], start)?;
                }
            }
            at = end.max(inside);
        }
        self.buffers.push(joined);
        Ok(())
    }

    /// Rules whose short keyword stands before a run, at its beginning or behind a slash in it.
    fn leads(&self, bytes: &[u8], start: usize, end: usize) -> Result<(), Stop> {
        let slashes = memchr::memchr_iter(b'/', &bytes[start..end.min(start + LONG_RUN)]).map(|at| start + at + 1);
        for start in std::iter::once(start).chain(slashes) {
            for (lead, keyword, index) in &self.engine.leads {
                let Some(at) = start.checked_sub(*lead) else { continue };
                if bytes[at..].starts_with(keyword) {
                    let rule = &self.engine.rules[usize::from(*index)];
                    if rule.anchored {
                        self.anchored(*index, bytes, at)?;
                    } else {
                        self.between(*index, bytes, at.saturating_sub(rule.reach.0), (at + rule.reach.1).min(bytes.len()))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn run(&mut self, run: &[u8], at: usize) -> Result<(), Stop> {
        let alignments = if run.len() >= LONG_RUN { 0b1111 } else { base64::ascii_alignments(run) };
        for shift in (0..4).filter(|shift| alignments >> shift & 1 == 1) {
            self.layer("base64", at, |out| {
                base64::run(&run[shift..], out);
                run.len() >= LONG_RUN || has_text(out)
            })?;
        }
        if (LONG_ENOUGH_TO_INFLATE..LONG_RUN).contains(&run.len()) {
            for part in run.split_inclusive(|&b| b == b'/').scan(0, |next, part| Some(std::mem::replace(next, *next + part.len()))) {
                if inflate::in_base64(&run[part..]) {
                    self.layer("base64", at, |out| {
                        base64::run(&run[part..], out);
                        true
                    })?;
                }
            }
        }
        // Hyphens are digits of one alphabet, and also what may stand between pairs.
        if run.len() >= 3 * FEWEST_PAIRS - 1 && run.iter().filter(|&&b| b == b'-').count() >= FEWEST_PAIRS - 1 {
            let mut from = 0;
            while let Some(start) = hex::pair(run, from, run.len()) {
                self.layer("hex", at, |out| {
                    from = hex::separated(run, start, out).max(start + 1);
                    out.len() >= FEWEST_PAIRS
                })?;
            }
        }
        hex::stretches(run, hex::is_digit, |digits| {
            for shift in 0..2 {
                self.layer("hex", at, |out| {
                    hex::run(&digits[shift..], out);
                    has_text(out)
                })?;
            }
            Ok(())
        })?;
        for is_digit in [base32::is_upper as fn(u8) -> bool, base32::is_lower] {
            hex::stretches(run, is_digit, |digits| {
                for shift in 0..8 {
                    self.layer("base32", at, |out| {
                        base32::run(&digits[shift..], out);
                        has_text(out)
                    })?;
                }
                Ok(())
            })?;
        }
        if self.engine.at_runs.is_empty() || run.len() >= LONG_RUN {
            return Ok(());
        }
        for word in run.split(|b| !b.is_ascii_alphanumeric()) {
            for &index in &self.engine.at_runs {
                if self.engine.rules[usize::from(index)].run.is_some_and(|(least, most)| (least..=most).contains(&word.len())) {
                    self.between(index, word, 0, word.len())?;
                }
            }
        }
        Ok(())
    }

    /// Hexadecimal pairs with separators.
    fn pairs(&mut self, bytes: &[u8], places: &[u32]) -> Result<(), Stop> {
        let mut at = 0;
        for place in places.iter().map(|&place| place as usize) {
            // The sequence may have begun up to fifteen bytes earlier.
            let Some(start) = hex::pair(bytes, at.max(place.saturating_sub(15)), place + 8) else { continue };
            let mut end = start;
            self.layer("hex", start, |out| {
                end = hex::separated(bytes, start, out);
                out.len() >= FEWEST_PAIRS
            })?;
            at = end.max(start + 1);
        }
        Ok(())
    }

    /// UTF-16.
    fn wide(&mut self, bytes: &[u8], survey: &Survey) -> Result<(), Stop> {
        let mut at = 0;
        while let Some(zero) = survey.find(at, survey::ZERO, |start, end| utf16::zero(bytes, start, end)) {
            at = zero + 1;
            for wide in utf16::around(bytes, zero) {
                if wide.count >= FEWEST_UNITS {
                    self.layer("utf-16", wide.start, |out| {
                        wide.decode(bytes, out);
                        true
                    })?;
                }
                at = at.max(wide.end());
            }
        }
        Ok(())
    }

    /// Compressed data.
    fn compressed(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut from = 0;
        while let Some(start) = inflate::next(bytes, from, !self.layers.is_empty()) {
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

/// Where the line before the one that begins at `start` begins, if both are lines of one wrapped text.
fn line_before(bytes: &[u8], from: usize, start: usize) -> Option<usize> {
    let between = bytes[from..start].iter().rev().take(16).take_while(|b| b" \t\r\n\"',>\\nr".contains(b)).count();
    // The letter of `\n` is a digit too: the shortest gap that leads from a digit to `start` is the right one.
    (1..=between).map(|gap| start - gap).find_map(|end| {
        let line = base64::start(bytes, from, end);
        (end - line >= SHORTEST_LINE && joint(&bytes[end..]) == start - end).then_some(line)
    })
}

/// True when a stretch of it could be a token: sixteen bytes in a row that text is made of.
fn has_text(bytes: &[u8]) -> bool {
    let mut row = 0;
    bytes.iter().any(|&b| {
        row = if matches!(b, b' '..=b'~' | b'\n' | b'\r' | b'\t' | 0) { row + 1 } else { 0 };
        row >= 16
    }) || inflate::next(bytes, 0, false).is_some()
}

/// True when most of it is UTF-8.
fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to() > bytes.len() / 2, |_| true)
}
