//! The engine: what is the same for every scan.

use std::collections::HashSet;

use crate::Fingerprints;
use crate::decode::base64;
use crate::fingerprint::Filter;
use crate::keywords::Keywords;
use crate::rules::{Allow, Rule, Rules, Stretch};

/// Rules and fingerprints in the order in which a scan needs them.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) rules: Vec<Rule>,
    pub(crate) allow: Vec<Allow>,
    /// The keywords of rules that could match anywhere.
    pub(crate) anywhere: Words,
    /// Those of rules each of whose matches holds a stretch of digits, and where around such a stretch a keyword may stand.
    pub(crate) near: Words,
    pub(crate) around: Stretch,
    /// The same keywords in base64, in each alignment and both alphabets.
    pub(crate) in_base64: Keywords,
    /// By keyword in base64: how many digits earlier its first group begins.
    pub(crate) group_before: Vec<usize>,
    /// Rules that must be tried everywhere: they have no keyword that could be searched for.
    pub(crate) everywhere: Vec<u16>,
    /// Rules that are tried at runs of letters and digits.
    pub(crate) at_runs: Vec<u16>,
    pub(crate) filter: Filter,
}

/// Keywords, and by keyword the rules that ask for it.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) keywords: Keywords,
    pub(crate) rules: Vec<Vec<u16>>,
}

/// The farthest from a stretch of digits that a rule's keyword is looked for: a rule that needs more is one that could match anywhere.
const FARTHEST: usize = 64;

/// Keywords as they are collected, each with whether its case counts.
#[derive(Default)]
struct Lists {
    words: Vec<(Vec<u8>, bool)>,
    rules: Vec<Vec<u16>>,
}

impl Lists {
    fn add(&mut self, word: &str, case_sensitive: bool, rule: u16) {
        let word = if case_sensitive { word.to_owned() } else { word.to_ascii_lowercase() };
        let key = (word.into_bytes(), case_sensitive);
        let at = self.words.iter().position(|known| *known == key).unwrap_or_else(|| {
            self.words.push(key);
            self.rules.push(Vec::new());
            self.words.len() - 1
        });
        self.rules[at].push(rule);
    }

    fn ready(self) -> Words {
        Words { keywords: Keywords::new(&self.words), rules: self.rules }
    }
}

/// Where around a stretch of digits all of a keyword of this rule stands, if it stands near one.
pub(crate) fn around_stretch(rule: &Rule) -> Option<Stretch> {
    let longest = rule.keywords.iter().map(String::len).max()?;
    let stretch = rule.stretch?;
    // The keyword of an anchored rule stands in front, whatever follows.
    let around = Stretch { after: if rule.anchored { longest } else { stretch.after }, ..stretch };
    (around.before.max(around.after) <= FARTHEST).then_some(around)
}

/// What each alignment of these words is in base64, in both alphabets, and how many digits earlier its first group begins.
fn in_base64<'w>(words: impl Iterator<Item = &'w (Vec<u8>, bool)>) -> (Vec<(Vec<u8>, bool)>, Vec<usize>) {
    let (mut digits, mut group_before) = (Vec::new(), Vec::new());
    let mut known = HashSet::new();
    for (word, _) in words.filter(|(word, _)| word.len() >= 4) {
        for alphabet in [base64::STANDARD, base64::URL] {
            for before in 0..3 {
                let fixed = base64::fixed(word, before, 6, alphabet);
                if known.insert(fixed.clone()) {
                    digits.push((fixed, true));
                    group_before.push((before * 8).div_ceil(6));
                }
            }
        }
    }
    (digits, group_before)
}

impl Engine {
    pub(crate) fn new(rules: Rules, secrets: Fingerprints) -> Result<Self, String> {
        let Rules { rules, allow } = rules;
        if rules.len() > usize::from(u16::MAX) {
            return Err(format!("{} rules are too many", rules.len()));
        }
        let (mut anywhere, mut near) = (Lists::default(), Lists::default());
        let mut around = Stretch { before: 0, after: 0 };
        let (mut everywhere, mut at_runs) = (Vec::new(), Vec::new());
        for (index, rule) in (0u16..).zip(&rules) {
            if rule.run.is_some() {
                at_runs.push(index);
            } else if rule.keywords.is_empty() || rule.keywords.iter().any(|word| word.len() < 3) {
                everywhere.push(index);
            } else {
                let lists = if let Some(stretch) = around_stretch(rule) {
                    around = Stretch { before: around.before.max(stretch.before), after: around.after.max(stretch.after) };
                    &mut near
                } else {
                    &mut anywhere
                };
                for word in &rule.keywords {
                    lists.add(word, rule.anchored, index);
                }
            }
        }
        let (digits, group_before) = in_base64(anywhere.words.iter().chain(&near.words));
        if digits.len() > usize::from(u16::MAX) {
            return Err(format!("{} keywords are too many", anywhere.words.len() + near.words.len()));
        }
        Ok(Self {
            anywhere: anywhere.ready(),
            near: near.ready(),
            around,
            in_base64: Keywords::new(&digits),
            group_before,
            rules,
            allow,
            everywhere,
            at_runs,
            filter: Filter::new(secrets)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_rules_that_could_match_anywhere_are_few() {
        let rules = Rules::built_in().unwrap();
        let anywhere: Vec<&str> = rules.rules.iter().filter(|rule| around_stretch(rule).is_none()).map(|rule| rule.id.as_str()).collect();
        let expected = "azure-client-secret azure-sas planetscale-token neon-token terraform-cloud-token private-key private-key-lines putty-private-key \
                        slack-cookie teams-webhook npmrc-credential docker-config-auth card-number iban \
                        frameio-token database-url bitcoin-wif";
        assert_eq!(anywhere.join(" "), expected);
        let engine = Engine::new(rules, Fingerprints::default()).unwrap();
        assert!(matches!(engine.anywhere.keywords, Keywords::Few(_)) && matches!(engine.near.keywords, Keywords::Many(_)));
    }
}
