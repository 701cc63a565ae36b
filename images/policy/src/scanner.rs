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
    /// SHA-256 of the operator's exceptions, in hexadecimal.
    pub excepted: Vec<String>,
}

impl Source {
    /// Builds the scanner, unless the one `before` was built from the same: compiling the rules takes longer than all the rest of a reload.
    pub fn build(&self, before: Option<(&Self, &Scanner)>) -> Result<Scanner, String> {
        match before {
            Some((source, scanner)) if source == self => Ok(scanner.clone()),
            _ => build(&self.rules, self.fingerprints.clone(), &self.excepted),
        }
    }
}

/// Builds the scanner. An error names the rule file and its problem. `excepted` are digests in hexadecimal.
pub fn build(files: &[RuleFile], fingerprints: Option<Fingerprints>, excepted: &[String]) -> Result<Scanner, String> {
    let mut rules = Rules::built_in()?;
    for file in files {
        rules = rules.beside(Rules::from_toml(&file.text).map_err(|why| format!("`rules`: {}: {why}", file.path))?);
    }
    let excepted =
        excepted.iter().map(|text| digest(text).ok_or_else(|| format!("`excepted`: {text:?} is no SHA-256"))).collect::<Result<_, _>>()?;
    Scanner::with_exceptions(rules, fingerprints.unwrap_or_default().into(), excepted)
}

/// Reads 64 hexadecimal digits.
pub fn digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    let fits = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2).filter(|_| fits)?, 16).ok()?;
    }
    Some(digest)
}
