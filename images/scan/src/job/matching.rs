//! Rules, at the places where their keywords stand.

use super::{Job, Stop};
use crate::decode::base64;
use crate::rules::Match;

/// How many digits are decoded at a keyword in base64: more than the longest match takes.
const HIDDEN: usize = 4096;

/// How far into a run slashes are taken for those of a path.
const LEADING: usize = 2048;

impl Job<'_> {
    pub(super) fn rules(&self, bytes: &[u8]) -> Result<(), Stop> {
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
        })?;
        for (index, start, end) in open {
            self.between(index, bytes, start, end)?;
        }
        engine.everywhere.iter().try_for_each(|&index| self.between(index, bytes, 0, bytes.len()))
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

    /// Rules whose short keyword stands before a run, at its beginning or behind a slash in it.
    pub(super) fn leads(&self, bytes: &[u8], start: usize, end: usize) -> Result<(), Stop> {
        let slashes = memchr::memchr_iter(b'/', &bytes[start..end.min(start + LEADING)]).map(|at| start + at + 1);
        std::iter::once(start).chain(slashes).try_for_each(|start| {
            self.engine.leads.before(bytes, start, |at, index| {
                let rule = &self.engine.rules[usize::from(index)];
                if rule.anchored {
                    self.anchored(index, bytes, at)
                } else {
                    self.between(index, bytes, at.saturating_sub(rule.reach.0), at.saturating_add(rule.reach.1).min(bytes.len()))
                }
            })
        })
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
