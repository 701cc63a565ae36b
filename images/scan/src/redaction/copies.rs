//! Copies of what was replaced: the same value may stand where no rule would know it, or in another form.

use aho_corasick::{AhoCorasick, MatchKind};

use crate::finding::Finding;
use crate::fingerprint;
use crate::window::{Exact, Hit};

/// A longer value is a block of lines, of which no other form is looked for.
const MAX_FORMS: usize = 512;

/// The values that one document had replaced, in all their forms.
#[derive(Default)]
pub(crate) struct Copies {
    patterns: Vec<Pattern>,
    /// Of all patterns; none when it must be made again.
    search: Option<AhoCorasick>,
}

struct Pattern {
    rule: String,
    /// As in [`Finding::encodings`]; empty for the value as it is.
    kind: &'static str,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Copies {
    /// The patterns are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Copies({} patterns)", self.patterns.len())
    }
}

impl Copies {
    /// Remembers a value.
    pub(crate) fn add(&mut self, rule: &str, value: &[u8]) {
        if self.patterns.iter().any(|known| known.kind.is_empty() && known.bytes == value) {
            return;
        }
        let forms = match value.len() > MAX_FORMS {
            true => vec![("", value.to_vec())],
            false => fingerprint::named_forms_of(value),
        };
        self.patterns.extend(forms.into_iter().map(|(kind, bytes)| Pattern { rule: rule.to_owned(), kind, bytes }));
        self.search = None;
    }

    /// A copy in a text that begins at `base`. One that is not as it was has no exact place.
    pub(crate) fn find(&mut self, text: &[u8], base: u64) -> Option<Hit> {
        if self.patterns.is_empty() {
            return None;
        }
        if self.search.is_none() {
            let bytes = self.patterns.iter().map(|pattern| &pattern.bytes);
            self.search = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(bytes).ok();
        }
        let Some(search) = &self.search else {
            // Never seen: patterns of a few megabytes would have to be more than it takes.
            return Some(Hit { finding: Finding::not_scannable(base, "too much to look for"), exact: None });
        };
        let found = search.find(text)?;
        let pattern = &self.patterns[found.pattern().as_usize()];
        let encodings = Some(pattern.kind).filter(|kind| !kind.is_empty()).into_iter().collect();
        let finding = Finding { rule: pattern.rule.clone(), offset: base + found.start() as u64, encodings };
        let exact = Exact { value: found.range(), whole: found.range(), is_block: false };
        Some(Hit { finding, exact: Some(exact).filter(|_| pattern.kind.is_empty()) })
    }
}
