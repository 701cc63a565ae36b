//! What every scan shares: rules with their keywords, and fingerprints.

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
    /// By keyword: the rules to try where it is found.
    pub(crate) rules_of: Vec<Vec<u16>>,
    /// Rules to try on every text: they have no keyword, or one too short to be rare.
    pub(crate) everywhere: Vec<u16>,
    /// Rules to try on runs of letters and digits.
    pub(crate) at_runs: Vec<u16>,
    pub(crate) filter: Filter,
}

impl Engine {
    pub(crate) fn new(rules: Rules, secrets: Fingerprints) -> Result<Self, String> {
        let Rules { rules, allow } = rules;
        if rules.len() > usize::from(u16::MAX) {
            return Err(format!("{} rules are too many", rules.len()));
        }
        let (mut keywords, mut rules_of) = (Vec::<(Vec<u8>, bool)>::new(), Vec::<Vec<u16>>::new());
        let (mut everywhere, mut at_runs) = (Vec::new(), Vec::new());
        for (index, rule) in (0u16..).zip(&rules) {
            if rule.run.is_some() {
                at_runs.push(index);
            } else if rule.keywords.is_empty() || rule.keywords.iter().any(|word| word.len() < 3) {
                everywhere.push(index);
            } else {
                for word in &rule.keywords {
                    let word = if rule.anchored { word.clone() } else { word.to_ascii_lowercase() };
                    let key = (word.into_bytes(), rule.anchored);
                    let known = keywords.iter().position(|other| *other == key).unwrap_or_else(|| {
                        keywords.push(key);
                        rules_of.push(Vec::new());
                        keywords.len() - 1
                    });
                    rules_of[known].push(index);
                }
            }
        }
        if keywords.len() > usize::from(u16::MAX) {
            return Err(format!("{} keywords are too many", keywords.len()));
        }
        Ok(Self { keywords: Keywords::new(&keywords), rules_of, rules, allow, everywhere, at_runs, filter: Filter::new(secrets)? })
    }
}
