//! The engine: what is the same for every scan.

use crate::Fingerprints;
use crate::decode::base64;
use crate::fingerprint::Filter;
use crate::keywords::Keywords;
use crate::rules::{Allow, Rule, Rules};

/// Rules and fingerprints in the order in which a scan needs them.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) rules: Vec<Rule>,
    pub(crate) allow: Vec<Allow>,
    pub(crate) keywords: Keywords,
    /// By keyword: the rules that ask for it.
    pub(crate) by_keyword: Vec<Vec<u16>>,
    /// The same keywords in base64, in each alignment and both alphabets.
    pub(crate) in_base64: Keywords,
    /// By keyword in base64: how many digits earlier its first group begins.
    pub(crate) group_before: Vec<usize>,
    /// Rules that must be tried everywhere: they have no keyword that could be searched for.
    pub(crate) everywhere: Vec<u16>,
    /// Rules that are tried at runs of letters and digits.
    pub(crate) at_runs: Vec<u16>,
    /// Short keywords before runs.
    pub(crate) leads: Leads,
    pub(crate) filter: Filter,
}

/// Short keywords, which are common in text, are looked for only at runs.
#[derive(Debug, Default)]
pub(crate) struct Leads {
    /// How far before the run, the keyword's first three bytes, its rule; sorted.
    words: Vec<(usize, [u8; 3], u16)>,
    distances: Vec<usize>,
    /// A bit for the low six bits of each first and third byte.
    first: u64,
    third: u64,
}

impl Leads {
    fn new(mut words: Vec<(usize, [u8; 3], u16)>) -> Self {
        words.sort_unstable();
        let mut distances: Vec<usize> = words.iter().map(|(lead, _, _)| *lead).collect();
        distances.dedup();
        let bits = |i: usize| words.iter().fold(0, |bits, (_, word, _)| bits | 1 << (word[i] & 63));
        Self { first: bits(0), third: bits(2), words, distances }
    }

    /// Calls `found` with each keyword that belongs to a run that begins at `start`: its place, and its rule.
    pub(crate) fn before<E>(&self, bytes: &[u8], start: usize, mut found: impl FnMut(usize, u16) -> Result<(), E>) -> Result<(), E> {
        for lead in &self.distances {
            let Some(at) = start.checked_sub(*lead) else { continue };
            let Some(text) = bytes.get(at..at + 3) else { continue };
            if self.first >> (text[0] & 63) & self.third >> (text[2] & 63) & 1 == 0 {
                continue;
            }
            for (_, _, rule) in self.words.iter().filter(|(distance, word, _)| distance == lead && word == text) {
                found(at, *rule)?;
            }
        }
        Ok(())
    }
}

impl Engine {
    pub(crate) fn new(rules: Rules, secrets: Fingerprints) -> Result<Self, String> {
        let Rules { rules, allow } = rules;
        if rules.len() > usize::from(u16::MAX) {
            return Err(format!("{} rules are too many", rules.len()));
        }
        let mut words: Vec<(Vec<u8>, bool)> = Vec::new();
        let mut by_keyword: Vec<Vec<u16>> = Vec::new();
        let (mut everywhere, mut at_runs, mut leads) = (Vec::new(), Vec::new(), Vec::new());
        for (index, rule) in (0u16..).zip(&rules) {
            if rule.run.is_some() {
                at_runs.push(index);
            } else if rule.keywords.is_empty() || rule.keywords.iter().any(|word| word.len() < 3) {
                everywhere.push(index);
            } else {
                for word in &rule.keywords {
                    if let (Some(lead), Some(short)) = (rule.lead, word.as_bytes().first_chunk()) {
                        leads.push((lead, *short, index));
                        continue;
                    }
                    let word = if rule.anchored { word.clone() } else { word.to_ascii_lowercase() };
                    let key = (word.into_bytes(), rule.anchored);
                    let at = words.iter().position(|known| *known == key).unwrap_or_else(|| {
                        words.push(key);
                        by_keyword.push(Vec::new());
                        words.len() - 1
                    });
                    by_keyword[at].push(index);
                }
            }
        }
        let mut digits: Vec<(Vec<u8>, bool)> = Vec::new();
        let mut group_before = Vec::new();
        for (word, _) in words.iter().filter(|(word, _)| word.len() >= 4) {
            for alphabet in [base64::STANDARD, base64::URL] {
                for before in 0..3 {
                    let fixed = (base64::fixed(word, before, 6, alphabet), true);
                    if !digits.contains(&fixed) {
                        digits.push(fixed);
                        group_before.push((before * 8).div_ceil(6));
                    }
                }
            }
        }
        if digits.len() > usize::from(u16::MAX) {
            return Err(format!("{} keywords are too many", words.len()));
        }
        let leads = Leads::new(leads);
        Ok(Self {
            keywords: Keywords::new(&words),
            in_base64: Keywords::new(&digits),
            group_before,
            rules,
            allow,
            by_keyword,
            everywhere,
            at_runs,
            leads,
            filter: Filter::new(secrets)?,
        })
    }
}
