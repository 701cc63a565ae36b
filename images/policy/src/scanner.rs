//! Builds the scanner of a configuration from the built-in rules, the operator's rules and the bottle's fingerprints.

use bottle_contract::{Fingerprints, RuleFile};
use bottle_scan::{Rules, Scanner};

/// What a scanner is built from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The operator's rules, beside the built-in ones.
    pub rules: Vec<RuleFile>,
    /// The bottle's own secrets.
    pub fingerprints: Option<Fingerprints>,
}

impl Source {
    /// Builds the scanner, unless the one `before` was built from the same: compiling the rules takes longer than all the rest of a reload.
    pub fn build(&self, before: Option<(&Self, &Scanner)>) -> Result<Scanner, String> {
        match before {
            Some((source, scanner)) if source == self => Ok(scanner.clone()),
            _ => build(&self.rules, self.fingerprints.clone()),
        }
    }
}

/// Builds the scanner. An error names the rule file and its problem.
pub fn build(files: &[RuleFile], fingerprints: Option<Fingerprints>) -> Result<Scanner, String> {
    let mut rules = Rules::built_in()?;
    for file in files {
        rules = rules.beside(Rules::from_toml(&file.text).map_err(|why| format!("`rules`: {}: {why}", file.path))?);
    }
    Scanner::with_rules(rules, fingerprints.unwrap_or_default().into())
}
