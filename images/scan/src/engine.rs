//! What every scan shares: rules with their keywords, fingerprints, and the operator's exceptions.

use std::collections::HashSet;

use crate::fingerprint::{Filter, Fingerprints};
use crate::keywords::Keywords;
use crate::rules::{Allow, Rule, Rules};

/// Rules and fingerprints in the order in which a scan needs them.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) rules: Vec<Rule>,
    pub(crate) allow: Vec<Allow>,
    pub(crate) keywords: Keywords,
    /// Rules to try on every text: they have no keyword, or one too short to be rare.
    pub(crate) everywhere: Vec<u16>,
    /// Rules to try on runs of letters and digits.
    pub(crate) at_runs: Vec<u16>,
    pub(crate) filter: Filter,
    /// Digests of values that are no finding of any rule. They excuse none of the bottle's own secrets, which no rule finds.
    pub(crate) excepted: HashSet<[u8; 32]>,
}

impl Engine {
    pub(crate) fn new(rules: Rules, secrets: Fingerprints, excepted: HashSet<[u8; 32]>) -> Result<Self, String> {
        let Rules { rules, allow } = rules;
        if rules.len() > usize::from(u16::MAX) {
            return Err(format!("{} rules are too many", rules.len()));
        }
        let (mut keywords, mut everywhere, mut at_runs) = (Vec::new(), Vec::new(), Vec::new());
        for (index, rule) in (0u16..).zip(&rules) {
            if rule.run.is_some() {
                at_runs.push(index);
            } else if rule.keywords.is_empty() || rule.keywords.iter().any(|word| word.len() < 3) {
                everywhere.push(index);
            } else {
                keywords.extend(rule.keywords.iter().map(|word| (word.as_str(), rule.anchored, index)));
            }
        }
        Ok(Self { keywords: Keywords::new(keywords)?, rules, allow, everywhere, at_runs, filter: Filter::new(secrets)?, excepted })
    }
}
