//! Rules, at the places where their keywords stand.

use super::{Exact, Hit, Stop, WindowScan};
use crate::decode::base64;
use crate::known::{Known, MAX_BLOCK, digest, end_of_block};
use crate::placeholder;
use crate::rules::{Match, Rule};

/// So many characters of a token are taken for its rest.
const MAX_REST: usize = 4 << 10;

/// Base64 characters of a block in which another alignment than that of the run's beginning is looked for, and how many of them are
/// part of the next block too: more than nearly every match takes.
const BLOCK: usize = 6 << 10;
const BLOCK_OVERLAP: usize = 2 << 10;

impl WindowScan<'_> {
    pub(super) fn rules(&self, bytes: &[u8]) -> Result<(), Stop> {
        let engine = self.engine;
        let mut open = Vec::new();
        engine.keywords.search(bytes, |rules, at| self.keyword(rules, bytes, at, &mut open))?;
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

    /// Decodes the text that a very long run holds at other alignments than that of its beginning, a block at a time. What is decoded
    /// elsewhere may have another beginning.
    pub(super) fn blocks(&mut self, run: &[u8], at: usize, elsewhere: bool) -> Result<(), Stop> {
        for start in (0..run.len()).step_by(BLOCK - BLOCK_OVERLAP) {
            let block = &run[start..run.len().min(start + BLOCK)];
            let alignments = base64::ALIGNMENTS.ascii(block);
            for shift in (usize::from(!elsewhere)..4).filter(|shift| alignments >> shift & 1 == 1) {
                self.layer("base64", at, |out| {
                    base64::run(&block[shift..], out);
                    true
                })?;
            }
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
        let (start, end) = found.secret;
        if self.is_excused(&found.bytes[start..end], rule, &found) {
            return Ok(());
        }
        if let Some(list) = self.list {
            list.borrow_mut().extend(value(rule, &found).map(|value| (rule.id.clone(), Known::of(&rule.id, value))));
            return Ok(());
        }
        let behind = found.bytes[end..].iter().take(MAX_REST).take_while(|byte| is_of_token(**byte)).count();
        let exact = Exact { value: start..end, whole: start..end + behind, is_block: rule.is_block };
        Err(Hit { finding: self.finding(&rule.id, start), exact: Some(exact).filter(|_| self.layers.is_empty()) }.into())
    }
}

impl WindowScan<'_> {
    /// True for what only looks like a secret: a placeholder, and what the operator or the caller excepted.
    fn is_excused(&self, value: &[u8], rule: &Rule, found: &Match<'_>) -> bool {
        let is_excepted = || self::value(rule, found).is_some_and(|value| self.engine.excepted.contains(&digest(value)));
        placeholder::is_part_of_one(value)
            || self.exempt.iter().any(|exempt| exempt.rule == rule.id && memchr::memmem::find(&exempt.within, value).is_some())
            || !self.engine.excepted.is_empty() && is_excepted()
    }
}

/// All of the value; none of a block of lines whose end is not there.
fn value<'b>(rule: &Rule, found: &Match<'b>) -> Option<&'b [u8]> {
    let (start, end) = found.secret;
    let end = if rule.is_block { end_of_block(&found.bytes[..found.bytes.len().min(end + MAX_BLOCK)], end)? } else { end };
    Some(&found.bytes[start..end])
}

/// Characters that a token goes on with where an expression's longest match has ended.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'/' | b'=')
}
