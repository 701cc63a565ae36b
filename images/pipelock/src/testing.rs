//! What several unit tests need.

use bottle_contract::pipelock::PipelockConfig;

/// A configuration that lists `hosts` and is otherwise as the supervisor writes it.
pub(crate) fn config(hosts: &[&str]) -> PipelockConfig {
    PipelockConfig { api_allowlist: hosts.iter().map(|host| host.parse().unwrap()).collect(), ..PipelockConfig::closed("test") }
}

/// A bottle's own secret, of no vendor's shape.
pub(crate) const SECRET: &str = "canary-7Qm2xV9tLw4Rz8Kp1Ns6Yb3Hd5Fg0Jc";

/// A scanner that knows [`SECRET`].
pub(crate) fn scanner() -> bottle_scan::Scanner {
    bottle_scan::Scanner::new(bottle_scan::Fingerprints::of([7; 32], &[SECRET.as_bytes()])).unwrap()
}
