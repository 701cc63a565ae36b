//! Reads the configuration directory.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, ensure};
use bottle_contract::pipelock::{FILE, PipelockConfig};

use bottle_policy::pipelock_policy::PipelockPolicy;

/// More than any list of hosts needs, and little enough to read a hostile file without harm.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Reads and understands `pipelock.yaml` in `directory`. The policy `before` lends its scanner, if that is the same.
pub fn read(directory: &Path, before: Option<&PipelockPolicy>) -> anyhow::Result<PipelockPolicy> {
    let path = directory.join(FILE);
    bounded(&path).and_then(|text| parse(&text, before)).with_context(|| path.display().to_string())
}

fn bounded(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = File::open(path)?;
    file.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut text)?;
    ensure!(text.len() as u64 <= MAX_CONFIG_BYTES, "larger than 16 MiB");
    Ok(text)
}

/// The policy that `text` describes. An unknown, duplicate or missing key is an error.
pub fn parse(text: &[u8], before: Option<&PipelockPolicy>) -> anyhow::Result<PipelockPolicy> {
    let config: PipelockConfig = serde_json::from_slice(text)?;
    PipelockPolicy::after(config, before).map_err(anyhow::Error::msg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    // covers: F19 Y10
    #[test]
    fn a_file_that_is_not_exactly_a_configuration_is_an_error() {
        let good = serde_json::to_string(&testing::config(&["a.test"])).unwrap();
        assert!(parse(good.as_bytes(), None).is_ok());
        for cut in 0..good.len() {
            assert!(parse(&good.as_bytes()[..cut], None).is_err(), "cut at {cut}");
        }
        for (bad, why) in [
            (good.replacen("\"mode\"", "\"moed\"", 1), "unknown field"),
            (good.replacen("{", "{\"version\":1,", 1), "duplicate field"),
            (good.replacen("a.test", "a.*", 1), "character"),
            (format!("{good}x"), "trailing"),
            (format!("\u{feff}{good}"), "expected value"),
            ("[".repeat(1_000_000), ""),
        ] {
            let error = format!("{:#}", parse(bad.as_bytes(), None).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }
}
