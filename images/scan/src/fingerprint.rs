//! A bottle's own secrets as keyed fingerprints: enough to recognise them, not enough to read them.

use serde::{Deserialize, Serialize};

/// Fingerprints of all forms of all secrets of one bottle. Serialisable; holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprints {}

impl Fingerprints {
    /// Makes fingerprints of `secrets` under a random `key` of this bottle.
    pub fn of(_key: [u8; 32], _secrets: &[&[u8]]) -> Self {
        Self {}
    }
}
