//! Fingerprints as a configuration carries them.

use bottle_contract::fingerprints as config;

use super::fingerprints::{Fingerprints, Form};

impl From<Fingerprints> for config::Fingerprints {
    fn from(fingerprints: Fingerprints) -> Self {
        let form = |Form { part, kind, length, at, windows, digest, .. }: Form| config::Form { part, kind, length, at, windows, digest };
        Self { key: fingerprints.key, forms: fingerprints.forms.into_iter().map(form).collect() }
    }
}

impl From<config::Fingerprints> for Fingerprints {
    fn from(fingerprints: config::Fingerprints) -> Self {
        let form =
            |config::Form { part, kind, length, at, windows, digest }| Form { honey: false, part, kind, length, at, windows, digest };
        Self { key: fingerprints.key, forms: fingerprints.forms.into_iter().map(form).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_carries_fingerprints_without_loss() {
        let fingerprints = Fingerprints::of([7; 32], &[b"canary-7Qm2xV9tLw4Rz8Kp1Ns6Yb3Hd5Fg0Jc"]);
        assert!(!fingerprints.is_empty());
        assert_eq!(Fingerprints::from(config::Fingerprints::from(fingerprints.clone())), fingerprints);
    }
}
