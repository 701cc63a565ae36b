//! The engine: what is the same for every scan.

use crate::Fingerprints;
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
    /// Rules that must be tried everywhere: they have no keyword that could be searched for.
    pub(crate) everywhere: Vec<u16>,
    /// Rules that are tried at runs of letters and digits.
    pub(crate) at_runs: Vec<u16>,
    /// Short keywords before runs: how far before, the keyword, its rule.
    pub(crate) leads: Vec<(usize, [u8; 3], u16)>,
    pub(crate) filter: Filter,
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
                    if let (Some(lead), Ok(short)) = (rule.lead, word.as_bytes().try_into()) {
                        leads.push((lead, short, index));
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
        if words.len() > usize::from(u16::MAX) {
            return Err(format!("{} keywords are too many", words.len()));
        }
        Ok(Self { keywords: Keywords::new(&words), rules, allow, by_keyword, everywhere, at_runs, leads, filter: Filter::new(secrets)? })
    }
}
