//! Reads and validates the rule files that a bottle names, once and before anything starts.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bottle_contract::RuleFile;
use bottle_contract::Untrusted;
use bottle_scan::Rules;

use crate::digest::sha256_hex;
use crate::error::{Error, Result, Source};

/// The size limit of a file: gitleaks' own is a tenth of it.
const MAX_RULES_BYTES: u64 = 1 << 20;

/// Reads and checks each file.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<RuleFile>> {
    paths.iter().map(|path| one(path)).collect()
}

fn one(path: &Path) -> Result<RuleFile> {
    let escaped = Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string();
    let wrong = |why: Source, hint: &str| Error::usage(format!("the rules in {escaped} cannot be used"), why, hint);
    let text = text(path).map_err(|e| wrong(e.into(), "name a file in gitleaks' format under `scan.rules`"))?;
    Rules::from_toml(&text).map_err(|e| wrong(e.into(), "fix or remove the rule: unsupported rules are never skipped silently"))?;
    Ok(RuleFile { path: path.to_string_lossy().into_owned(), sha256: sha256_hex(text.as_bytes()), text })
}

fn text(path: &Path) -> io::Result<String> {
    // Opening a FIFO must not block.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    file.take(MAX_RULES_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_RULES_BYTES { Err(io::Error::other("larger than 1 MiB")) } else { Ok(text) }
}
