//! Redaction: a value that stands, whole and as it is, in one string of a JSON document is replaced by a placeholder of its length.
//!
//! [`settle`](Redaction::settle) does it to one window, before anything of it is let go, and asks for scans until one finds nothing. Whatever
//! cannot be located is a finding as in any other scan: a value below a layer of encoding, in a name or a number, split over strings, a part
//! of a longer secret, and bait.

mod copies;
pub(crate) mod locator;

use std::ops::Range;

use crate::finding::Finding;
use crate::known::{Known, MAX_BLOCK, end_of_block};
use crate::placeholder;
use crate::window::{Exact, Hit};
use copies::Copies;
use locator::{Locator, Spot};

/// Values that one message may have replaced: more are no conversation.
const MAX_REDACTED: usize = 1000;
/// Scans of windows that one message may ask for: four for each value, and those of a gigabyte without any.
const MAX_ROUNDS: usize = 4 * MAX_REDACTED + 8192;
/// What begins this close to the end of a window is left to the next one, which begins with it: it may go on.
pub(crate) const UNSETTLED: usize = MAX_BLOCK;

/// A value that was replaced. It never holds the value itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    /// The rule that found it.
    pub rule: String,
    /// The offset of its first byte.
    pub offset: u64,
    /// Its length in bytes.
    pub length: usize,
    /// Its place in the document: `messages[3].content`; none where that name must not be repeated.
    pub place: Option<String>,
    /// What may be told of it.
    pub known: Known,
}

/// The state of one document's redaction.
#[derive(Debug, Default)]
pub(crate) struct Redaction {
    locator: Locator,
    copies: Copies,
    /// What was replaced, and not yet taken.
    pub(crate) done: Vec<Redacted>,
    count: usize,
    rounds: usize,
    /// What has left the window, not yet taken.
    pub(crate) out: Vec<u8>,
    /// Something was left to the next window.
    pub(crate) unsettled: bool,
}

/// A window, and what its scan needs to know.
pub(crate) struct Window<'w> {
    pub(crate) bytes: &'w mut Vec<u8>,
    /// Where it begins in the document.
    pub(crate) base: u64,
    /// The document goes on behind it.
    pub(crate) more: bool,
}

impl Redaction {
    /// Replaces what `scan` finds in a window, until it finds nothing more, or something that stays a finding. `is_clean` says whether a text
    /// may be repeated.
    pub(crate) fn settle(
        &mut self,
        window: Window<'_>,
        mut scan: impl FnMut(&[u8]) -> Option<Hit>,
        is_clean: impl Fn(&[u8]) -> bool,
    ) -> Option<Finding> {
        let Window { bytes, base, more } = window;
        let limit = if more { bytes.len().saturating_sub(UNSETTLED) } else { bytes.len() };
        // With what is left to the next window out of sight.
        let mut seen: Option<Vec<u8>> = None;
        self.unsettled = false;
        while self.rounds < MAX_ROUNDS {
            self.rounds += 1;
            let text = seen.as_deref().unwrap_or(&bytes[..]);
            let hit = scan(text).or_else(|| self.copies.find(text, base))?;
            let Some(Exact { value, whole, is_block }) = hit.exact else { return Some(hit.finding) };
            let Some(spot) = self.spot(bytes, &whole, is_block) else { return Some(hit.finding) };
            let is_whole = spot.range.end < bytes.len() || spot.end_of_string.is_some() || !more;
            if spot.range.start >= limit && more {
                self.unsettled = true;
                let seen = seen.get_or_insert_with(|| bytes.clone());
                hide(&mut seen[spot.range.clone()]);
                continue;
            }
            let is_new = !placeholder::is_part_of_one(&bytes[spot.range.clone()]);
            if !is_whole || !is_new || value.is_empty() || spot.range.len() < placeholder::MIN_LEN || self.count == MAX_REDACTED {
                return Some(hit.finding);
            }
            let value = &bytes[if is_block { spot.range.clone() } else { value }];
            let rule = hit.finding.rule;
            let may_be_told = |place: &String| memchr::memmem::find(place.as_bytes(), value).is_none() && is_clean(place.as_bytes());
            self.count += 1;
            self.copies.add(&rule, value);
            self.done.push(Redacted {
                known: Known::of(&rule, value),
                offset: base + spot.range.start as u64,
                length: spot.range.len(),
                place: Some(spot.place).filter(may_be_told),
                rule,
            });
            placeholder::write(&mut bytes[spot.range.clone()]);
            if let Some(seen) = &mut seen {
                placeholder::write(&mut seen[spot.range]);
            }
        }
        Some(Finding::not_scannable(base, "too many values to redact"))
    }

    /// Where all of a value stands.
    fn spot(&self, bytes: &[u8], whole: &Range<usize>, is_block: bool) -> Option<Spot> {
        let spot = self.locator.spot(bytes, whole)?;
        if !is_block {
            return Some(spot);
        }
        let most = whole.start.saturating_add(MAX_BLOCK).min(spot.end_of_string.unwrap_or(bytes.len()));
        let end = end_of_block(&bytes[..most], whole.end).unwrap_or(most);
        self.locator.spot(bytes, &(whole.start..end.max(whole.end)))
    }

    /// The front of the window leaves it.
    pub(crate) fn leave(&mut self, bytes: &[u8]) {
        self.locator.feed(bytes);
        self.out.extend_from_slice(bytes);
    }
}

/// What is too short for a placeholder is hidden as well.
fn hide(value: &mut [u8]) {
    match value.len() < placeholder::MIN_LEN {
        true => value.fill(b'*'),
        false => placeholder::write(value),
    }
}
