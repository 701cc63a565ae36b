//! Rules of the operator's, which pipelock and git-gate enforce beside the built-in ones.

use serde::{Deserialize, Serialize};

/// A file of rules in gitleaks' format. Its text travels in the configuration, so that what was shown and agreed to is
/// what is enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// Where it was read.
    pub path: String,
    /// SHA-256 of the text, in hexadecimal.
    pub sha256: String,
    /// The text, TOML.
    pub text: String,
}
