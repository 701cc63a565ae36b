//! Finds the keywords of all rules in one pass over a text.

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;

/// Sections of a text that are searched side by side. Each step of an automaton waits for the one before, so one section alone leaves
/// the processor idle: four are about twice as fast.
const SECTIONS: usize = 4;

/// The keywords of all rules, ready to search.
#[derive(Debug)]
pub(crate) struct Keywords {
    /// Finds every keyword whatever its case. Standard semantics report all of them where they overlap.
    automaton: DFA,
    start: StateID,
    /// By pattern of the automaton.
    keywords: Vec<Keyword>,
    max_len: usize,
}

#[derive(Debug)]
struct Keyword {
    text: String,
    case_sensitive: bool,
    /// Indices of the rules to try where it is found.
    rules: Vec<u16>,
}

impl Keywords {
    /// From keywords, each with whether its case counts and with the index of its rule.
    pub(crate) fn new<'k>(all: impl IntoIterator<Item = (&'k str, bool, u16)>) -> Result<Self, String> {
        let mut keywords: Vec<Keyword> = Vec::new();
        for (text, case_sensitive, rule) in all {
            let text = if case_sensitive { text.to_owned() } else { text.to_ascii_lowercase() };
            match keywords.iter_mut().find(|known| known.text == text && known.case_sensitive == case_sensitive) {
                Some(known) => known.rules.push(rule),
                None => keywords.push(Keyword { text, case_sensitive, rules: vec![rule] }),
            }
        }
        // Without a prefilter the special states are those that match.
        let automaton = DFA::builder().ascii_case_insensitive(true).prefilter(false).build(keywords.iter().map(|keyword| &keyword.text));
        let automaton = automaton.map_err(|error| format!("the rules have too many keywords: {error}"))?;
        let start = automaton.start_state(Anchored::No).map_err(|error| error.to_string())?;
        let max_len = keywords.iter().map(|keyword| keyword.text.len()).max().unwrap_or(0);
        Ok(Self { automaton, start, keywords, max_len })
    }

    /// Calls `found` with the rules of each keyword and the place of its first byte, nearly in order: of two keywords that end at
    /// different places, the one that ends first comes first.
    pub(crate) fn search<E>(&self, bytes: &[u8], mut found: impl FnMut(&[u16], usize) -> Result<(), E>) -> Result<(), E> {
        let size = bytes.len().div_ceil(SECTIONS);
        for (section, matches) in self.matches(bytes, size).into_iter().enumerate() {
            for (last, state) in matches {
                for index in 0..self.automaton.match_len(state) {
                    let keyword = &self.keywords[self.automaton.match_pattern(state, index).as_usize()];
                    let text = keyword.text.as_bytes();
                    let at = last + 1 - text.len();
                    // What begins in the next section is found there.
                    let start = section * size + at;
                    if at < size && (!keyword.case_sensitive || bytes[start..].starts_with(text)) {
                        found(&keyword.rules, start)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// For each section of this size: the last bytes of keywords, as offsets in the section, and the automaton's states there. A section
    /// is read on until all keywords that begin in it have ended.
    #[expect(clippy::needless_range_loop, reason = "all sections advance together, byte by byte")]
    fn matches(&self, bytes: &[u8], size: usize) -> [Vec<(usize, StateID)>; SECTIONS] {
        let sections: [&[u8]; SECTIONS] = std::array::from_fn(|section| {
            let start = bytes.len().min(section * size);
            &bytes[start..bytes.len().min(start + size + self.max_len)]
        });
        let together = sections.iter().map(|section| section.len()).min().unwrap_or(0);
        let mut states = [self.start; SECTIONS];
        let mut matches = [const { Vec::new() }; SECTIONS];
        let mut step = |section: usize, at: usize, byte: u8| {
            states[section] = self.automaton.next_state(Anchored::No, states[section], byte);
            if self.automaton.is_special(states[section]) {
                matches[section].push((at, states[section]));
            }
        };
        let heads = sections.map(|section| &section[..together]);
        for at in 0..together {
            for section in 0..SECTIONS {
                step(section, at, heads[section][at]);
            }
        }
        for (section, bytes) in sections.iter().enumerate() {
            for (at, &byte) in bytes.iter().enumerate().skip(together) {
                step(section, at, byte);
            }
        }
        matches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(keywords: &[(&str, bool)]) -> Keywords {
        Keywords::new((0..).zip(keywords).map(|(rule, (keyword, case_sensitive))| (*keyword, *case_sensitive, rule))).unwrap()
    }

    fn places(keywords: &[(&str, bool)], text: &str) -> Vec<(u16, usize)> {
        found(&ready(keywords), text)
    }

    /// Indices of rules and places, sorted.
    fn found(keywords: &Keywords, text: &str) -> Vec<(u16, usize)> {
        let mut places = Vec::new();
        let result = keywords.search(text.as_bytes(), |rules, at| {
            places.extend(rules.iter().map(|rule| (*rule, at)));
            Ok::<(), ()>(())
        });
        assert_eq!(result, Ok(()));
        places.sort_unstable();
        places
    }

    #[test]
    fn case_counts_where_it_should() {
        let keywords = [("AKIA", true), ("iBan", false)];
        assert_eq!(places(&keywords, "akia AKIA Iban iBAN"), [(0, 5), (1, 10), (1, 15)]);
    }

    #[test]
    fn keywords_that_overlap_are_all_found() {
        let keywords = [("aaa", false), ("aaaa", true), ("caa", false), ("AAA", false)];
        let expected = [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (2, 0), (3, 1), (3, 2), (3, 3)];
        assert_eq!(places(&keywords, "caaaaa"), expected);
    }

    #[test]
    fn a_keyword_is_found_once_wherever_sections_are_cut() {
        let keywords = [("abc", false), ("wxyz", true), ("secret_access_key", false)];
        let ready = ready(&keywords);
        for (rule, (keyword, _)) in (0..).zip(keywords) {
            for (before, after) in (0..30).flat_map(|before| (0..90).map(move |after| (before, after))) {
                let text = format!("{}{keyword}{}", "#".repeat(before), "#".repeat(after));
                assert_eq!(found(&ready, &text), [(rule, before)], "{text}");
            }
        }
        assert_eq!(places(&keywords, ""), []);
        assert_eq!(places(&[], "abc"), []);
    }

    #[test]
    fn an_error_of_the_caller_ends_the_search() {
        let keywords = Keywords::new([("key", false, 4)]).unwrap();
        assert_eq!(keywords.search(b"a key, a key", |rules, at| Err((rules.to_vec(), at))), Err((vec![4], 2)));
    }
}
