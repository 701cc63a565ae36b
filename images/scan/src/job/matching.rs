//! Rules, at the places where their keywords stand.

use super::{Job, Stop};
use crate::decode::base64;
use crate::rules::{Match, STRETCH, Stretch};

/// How many digits are decoded at a keyword in base64: more than the longest match takes.
const HIDDEN: usize = 4096;

impl Job<'_> {
    pub(super) fn rules(&self, bytes: &[u8], runs: &[(u32, u32)]) -> Result<(), Stop> {
        let engine = self.engine;
        let mut open = Vec::new();
        engine
            .anywhere
            .keywords
            .search(bytes, |keyword, at| self.keyword(&engine.anywhere.rules[usize::from(keyword)], bytes, at, &mut open))?;
        for (start, end) in areas(runs, engine.around, bytes.len()) {
            engine.near.keywords.search(&bytes[start..end], |keyword, at| {
                self.keyword(&engine.near.rules[usize::from(keyword)], bytes, start + at, &mut open)
            })?;
        }
        for (index, start, end) in open {
            self.between(index, bytes, start, end)?;
        }
        engine.everywhere.iter().try_for_each(|&index| self.between(index, bytes, 0, bytes.len()))
    }

    /// Asks the rules of a keyword. Places that one rule asks for overlap: they are joined in `open`, so that no byte is read twice for it.
    fn keyword(&self, rules: &[u16], bytes: &[u8], at: usize, open: &mut Vec<(u16, usize, usize)>) -> Result<(), Stop> {
        for &index in rules {
            let rule = &self.engine.rules[usize::from(index)];
            if rule.anchored {
                self.anchored(index, bytes, at)?;
                continue;
            }
            let (start, end) = (at.saturating_sub(rule.reach.0), at.saturating_add(rule.reach.1).saturating_add(64).min(bytes.len()));
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
    }

    /// Decodes a run at the groups that hold keywords in base64.
    pub(super) fn hidden(&mut self, run: &[u8], at: usize) -> Result<(), Stop> {
        let engine = self.engine;
        let mut groups = Vec::new();
        engine.in_base64.search(run, |keyword, place| {
            groups.extend(place.checked_sub(engine.group_before[usize::from(keyword)]));
            Ok(())
        })?;
        // By alignment: where the last stretch ended. The second half of a stretch is decoded again with what follows.
        let mut done = [0; 4];
        for group in groups {
            if group + HIDDEN / 2 <= done[group % 4] {
                continue;
            }
            let end = run.len().min(group + HIDDEN);
            done[group % 4] = group + HIDDEN;
            self.layer("base64", at, |out| {
                base64::run(&run[group..end], out);
                true
            })?;
        }
        Ok(())
    }

    /// A rule whose match begins with its keyword.
    fn anchored(&self, index: u16, bytes: &[u8], at: usize) -> Result<(), Stop> {
        let rule = &self.engine.rules[usize::from(index)];
        if !rule.may_begin(bytes, at) {
            return Ok(());
        }
        let Some(regex) = rule.regex() else { return Ok(()) };
        let text = &bytes[at..at.saturating_add(rule.reach.1).min(bytes.len())];
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
    pub(super) fn between(&self, index: u16, bytes: &[u8], start: usize, end: usize) -> Result<(), Stop> {
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
}

/// The stretches of a text of this length that lie around runs of digits.
fn areas(runs: &[(u32, u32)], around: Stretch, length: usize) -> impl Iterator<Item = (usize, usize)> {
    let area = move |(start, end): (u32, u32)| ((start as usize).saturating_sub(around.before), (end as usize + around.after).min(length));
    let mut areas = runs.iter().filter(|(start, end)| (end - start) as usize >= STRETCH).map(move |&run| area(run)).peekable();
    std::iter::from_fn(move || {
        let (start, mut end) = areas.next()?;
        while let Some((_, next)) = areas.next_if(|(next, _)| *next <= end) {
            end = next;
        }
        Some((start, end))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::strategy::{Strategy, ValueTree};
    use proptest::string::bytes_regex;
    use proptest::test_runner::TestRunner;

    use super::*;
    use crate::engine::{Engine, around_stretch};
    use crate::survey::Survey;
    use crate::{Fingerprints, Rules};

    #[test]
    fn whatever_a_rule_matches_stands_where_its_keywords_are_looked_for() {
        let engine = Engine::new(Rules::built_in().unwrap(), Fingerprints::default()).unwrap();
        let mut runner = TestRunner::deterministic();
        let mut survey = Survey::default();
        let near: Vec<_> = engine.rules.iter().filter(|rule| around_stretch(rule).is_some()).collect();
        assert!(near.len() > 100);
        let mut strangers = BTreeSet::new();
        for rule in near {
            // What generates matches knows no ends of texts.
            let matches = bytes_regex(&format!("(?-u:{})", rule.source.replace("|$)", ")"))).unwrap_or_else(|e| panic!("{}: {e}", rule.id));
            for before in 0..60 {
                let found = matches.new_tree(&mut runner).unwrap().current();
                let text = [" ".repeat(before).as_bytes(), &found, b" ".repeat(before * 3).as_slice()].concat();
                survey.take(&text);
                let keyword = rule.keywords.iter().map(|word| word.as_bytes()).find(|word| found.starts_with(word));
                // The middle of a token is generated at random, and some begin as none of their kind does.
                let Some(length) = (if rule.anchored { keyword.map(<[u8]>::len) } else { Some(found.len()) }) else {
                    strangers.insert(rule.id.as_str());
                    continue;
                };
                let must_hold = before..before + length;
                let held =
                    areas(&survey.runs, engine.around, text.len()).any(|(start, end)| start <= must_hold.start && must_hold.end <= end);
                assert!(held, "{}: {}", rule.id, text.escape_ascii());
            }
        }
        assert_eq!(strangers.into_iter().collect::<Vec<_>>(), ["jwt"]);
    }
}
