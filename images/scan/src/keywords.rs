//! Finds the keywords of all rules in one pass over a text.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

/// The keywords of all rules, ready to search.
#[derive(Debug)]
pub(crate) struct Keywords {
    /// Finds every keyword whatever its case. Standard semantics report all of them where they overlap.
    automaton: AhoCorasick,
    /// By pattern of the automaton.
    keywords: Vec<Keyword>,
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
        // A table of states costs memory and saves the walk along failure links at nearly every byte.
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::DFA))
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .build(keywords.iter().map(|keyword| &keyword.text))
            .map_err(|error| format!("the keywords of the rules are too many: {error}"))?;
        Ok(Self { automaton, keywords })
    }

    /// Calls `found` with the rules of each keyword and the place of its first byte.
    pub(crate) fn search<E>(&self, bytes: &[u8], mut found: impl FnMut(&[u16], usize) -> Result<(), E>) -> Result<(), E> {
        for place in self.automaton.find_overlapping_iter(bytes) {
            let keyword = &self.keywords[place.pattern().as_usize()];
            if !keyword.case_sensitive || bytes[place.range()] == *keyword.text.as_bytes() {
                found(&keyword.rules, place.start())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Indices of rules and places, in order.
    fn places(keywords: &[(&str, bool)], text: &str) -> Vec<(u16, usize)> {
        let keywords = (0..).zip(keywords).map(|(rule, (keyword, case_sensitive))| (*keyword, *case_sensitive, rule));
        let mut places = Vec::new();
        let result = Keywords::new(keywords).unwrap().search(text.as_bytes(), |rules, at| {
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
    fn an_error_of_the_caller_ends_the_search() {
        let keywords = Keywords::new([("key", false, 4)]).unwrap();
        assert_eq!(keywords.search(b"a key, a key", |rules, at| Err((rules.to_vec(), at))), Err((vec![4], 2)));
    }
}
