//! The scanner that a configuration asks for: the built-in rules, the operator's, and the bottle's own secrets.

use bottle_contract::RuleFile;
use bottle_scan::{Fingerprints, Rules, Scanner};

/// Builds the scanner. An error names the rule file and what is wrong with it.
pub fn build(files: &[RuleFile], fingerprints: serde_json::Value) -> Result<Scanner, String> {
    let fingerprints = match fingerprints {
        serde_json::Value::Null => Fingerprints::default(),
        value => serde_json::from_value(value).map_err(|_| "`fingerprints` cannot be read".to_owned())?,
    };
    let mut rules = Rules::built_in()?;
    for file in files {
        rules = rules.beside(Rules::from_toml(&file.text).map_err(|why| format!("`rules`: {}: {why}", file.path))?);
    }
    Scanner::with_rules(rules, fingerprints)
}
