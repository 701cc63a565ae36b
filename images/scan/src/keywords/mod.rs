//! The places in a text where keywords of rules stand: by a table for many of them, by vectors for a few.

mod few;
mod table;

use fearless_simd::Level;

use few::Few;
use table::Table;

/// A keyword's place in the list that it came in.
pub(crate) type KeywordId = u16;

/// Keywords, ready to search.
#[derive(Debug)]
pub(crate) enum Keywords {
    Few(Few),
    Many(Box<Table>),
}

impl Keywords {
    /// Keywords of at least three bytes, each with whether its case counts.
    pub(crate) fn new(keywords: &[(Vec<u8>, bool)]) -> Self {
        Few::new(Level::new(), keywords).map_or_else(|| Self::Many(Box::new(Table::new(keywords))), Self::Few)
    }

    /// Calls `found` with each keyword and the place of its first byte.
    pub(crate) fn search<E>(&self, bytes: &[u8], found: impl FnMut(KeywordId, usize) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Few(few) => few.search(bytes, found),
            Self::Many(table) => table.search(bytes, found),
        }
    }
}

/// Upper and lower case letters fall together when this is set; so do a few signs, which the comparison sorts out.
const FOLD: u8 = 0x20;

/// [`FOLD`] for four bytes at once.
const FOLD4: u32 = u32::from_le_bytes([FOLD; 4]);

/// Four bytes, or as many as there are and zeros.
fn four(bytes: &[u8], at: usize) -> u32 {
    let rest = &bytes[at..];
    u32::from_le_bytes(rest.first_chunk().copied().unwrap_or_else(|| {
        let mut four = [0; 4];
        four[..rest.len()].copy_from_slice(rest);
        four
    }))
}

/// A keyword.
#[derive(Debug)]
struct Entry {
    bytes: Box<[u8]>,
    case_sensitive: bool,
}

impl Entry {
    /// Those of keywords that come with whether their case counts.
    fn all(keywords: &[(Vec<u8>, bool)]) -> Vec<Self> {
        keywords.iter().map(|(bytes, case_sensitive)| Self { bytes: bytes.as_slice().into(), case_sensitive: *case_sensitive }).collect()
    }

    /// Whether this keyword begins at `start`.
    fn stands_at(&self, bytes: &[u8], start: usize) -> bool {
        bytes.get(start..start + self.bytes.len()).is_some_and(|text| {
            text[0] | FOLD == self.bytes[0] | FOLD
                && if self.case_sensitive { text == &*self.bytes } else { text.eq_ignore_ascii_case(&self.bytes) }
        })
    }
}

/// How common a byte is in text and code, in about a thousand bytes: what is rare makes fewer false candidates.
const fn commonness(byte: u8) -> u32 {
    match byte {
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' | b' ' => 60,
        b'a'..=b'z' => 20,
        b'-' | b'.' | b'/' | b':' | b'"' | b',' | b'_' | b'(' | b')' => 10,
        b'0'..=b'9' | b'A'..=b'Z' => 6,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::levels;

    /// The places that both searches agree on, whatever the processor has.
    fn places(keywords: &[(Vec<u8>, bool)], text: &[u8]) -> Vec<(KeywordId, usize)> {
        let by_table = sorted(|note| Table::new(keywords).search(text, note));
        for level in levels() {
            if let Some(few) = Few::new(level, keywords) {
                assert_eq!(sorted(|note| few.search(text, note)), by_table, "{level:?}: {}", text.escape_ascii());
            }
        }
        by_table
    }

    type Note<'n> = &'n mut dyn FnMut(KeywordId, usize) -> Result<(), ()>;

    fn sorted(search: impl FnOnce(Note<'_>) -> Result<(), ()>) -> Vec<(KeywordId, usize)> {
        let mut all = Vec::new();
        let found = search(&mut |id, at| {
            all.push((id, at));
            Ok(())
        });
        assert_eq!(found, Ok(()));
        all.sort_unstable();
        all
    }

    fn are_few(keywords: &[(Vec<u8>, bool)]) -> bool {
        matches!(Keywords::new(keywords), Keywords::Few(_))
    }

    fn folded(keywords: &[&str]) -> Vec<(Vec<u8>, bool)> {
        keywords.iter().map(|keyword| (keyword.as_bytes().to_vec(), false)).collect()
    }

    #[test]
    fn a_keyword_is_found_once_at_every_place_it_can_stand() {
        let keywords = ["abc", "wxyz", "-----BEGIN", "secret_access_key"];
        assert!(are_few(&folded(&keywords)));
        for (id, keyword) in keywords.iter().enumerate() {
            for (before, after) in (0..24).chain(60..140).flat_map(|before| (0..12).map(move |after| (before, after))) {
                let text = format!("{}{keyword}{}", "#".repeat(before), "#".repeat(after));
                assert_eq!(places(&folded(&keywords), text.as_bytes()), [(id as u16, before)], "{text}");
                assert_eq!(places(&folded(&keywords), text.to_uppercase().as_bytes()), [(id as u16, before)], "{text}");
            }
        }
    }

    #[test]
    fn case_counts_where_it_should() {
        let keywords = [(b"AKIA".to_vec(), true), (b"iban".to_vec(), false)];
        assert_eq!(places(&keywords, b"akia AKIA Iban iBAN"), [(0, 5), (1, 10), (1, 15)]);
    }

    #[test]
    fn what_stands_behind_the_end_of_a_text_is_no_keyword() {
        let keywords = folded(&["    ", "no "]);
        assert!(are_few(&keywords));
        for length in 0..140 {
            let text = "no".repeat(length);
            assert_eq!(places(&keywords, text.as_bytes()), []);
            let text = format!("{text} ");
            let last = (length > 0).then_some((1, 2 * length.saturating_sub(1)));
            assert_eq!(places(&keywords, text.as_bytes()), Vec::from_iter(last));
        }
    }

    #[test]
    fn keywords_that_overlap_are_all_found() {
        assert_eq!(places(&folded(&["aaa", "aaaa", "caa"]), b"caaaaa"), [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (2, 0)]);
    }

    #[test]
    fn many_keywords_are_found_as_a_plain_search_finds_them() {
        let keywords: Vec<String> = (0..300).map(|i| format!("k{i:03}{}", "_z".repeat(i % 5))).collect();
        let keywords: Vec<&str> = keywords.iter().map(String::as_str).collect();
        assert!(!are_few(&folded(&keywords)));
        let text: String = (0..2000).map(|i| format!("k{:03}{}", i * 7 % 400, "_z".repeat(i % 7))).collect();
        let mut plain = Vec::new();
        for (id, keyword) in keywords.iter().enumerate() {
            plain.extend((0..text.len()).filter(|&at| text[at..].starts_with(keyword)).map(|at| (id as u16, at)));
        }
        plain.sort_unstable();
        assert_eq!(places(&folded(&keywords), text.as_bytes()), plain);
    }
}
