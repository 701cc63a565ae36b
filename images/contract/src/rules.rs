//! The operator's own scanner rules, which pipelock and git-gate enforce besides the built-in ones.

use serde::{Deserialize, Serialize};

/// A rule file in gitleaks' format. Its text is part of the configuration, so that the sidecars enforce exactly the rules
/// that the operator confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// Its path.
    pub path: String,
    /// SHA-256 of the text, in hexadecimal.
    pub sha256: String,
    /// The text, TOML.
    pub text: String,
}
