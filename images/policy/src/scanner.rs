//! Builds the scanner of a configuration from the built-in rules, the operator's rules and the bottle's fingerprints.

use bottle_contract::{Fingerprints, RuleFile};
use bottle_scan::{Rules, Scanner};

/// Builds the scanner. An error names the rule file and its problem.
pub fn build(files: &[RuleFile], fingerprints: Option<Fingerprints>) -> Result<Scanner, String> {
    let mut rules = Rules::built_in()?;
    for file in files {
        rules = rules.beside(Rules::from_toml(&file.text).map_err(|why| format!("`rules`: {}: {why}", file.path))?);
    }
    Scanner::with_rules(rules, fingerprints.unwrap_or_default().into())
}
