//! What developers send to a model and push every day: the READMEs, tests, fixtures, lock files and documentation of the packages that this very
//! build has downloaded. None of it may be refused, but for what is listed here by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bottle_scan::{Fingerprints, Scanner};

/// A larger file is no message.
const MAX_FILE: u64 = 96 << 10;
/// So many files of one package: enough to see its style.
const MAX_FILES: usize = 12;
/// Fewer packages would be no corpus.
const MIN_PACKAGES: usize = 200;
/// Fewer messages neither.
const MIN_MESSAGES: usize = 1000;

/// Files that are what they look like: private keys and tokens for tests, in places of these names.
const TRUE: &[&str] = &[];

/// Directories of packages that cargo has unpacked for this build.
fn packages() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cargo"));
    let list = |path: &Path| fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>();
    let mut packages: Vec<PathBuf> = list(&home.join("registry/src")).iter().flat_map(|registry| list(registry)).collect();
    packages.sort();
    packages
}

/// Texts of a package: what is on top, and what is below `tests`, `examples`, `docs` and `src`.
fn texts(package: &Path) -> Vec<(PathBuf, String)> {
    let mut texts = Vec::new();
    let mut open = vec![package.to_owned()];
    while let Some(directory) = open.pop() {
        let mut entries: Vec<_> = fs::read_dir(&directory).into_iter().flatten().filter_map(Result::ok).collect();
        entries.sort_by_key(|entry| entry.file_name());
        for entry in entries {
            let Ok(meta) = entry.metadata() else { continue };
            let name = entry.file_name();
            let is_wanted = directory != package || ["tests", "examples", "docs", "src", "fixtures"].iter().any(|wanted| name == *wanted);
            if meta.is_dir() && is_wanted {
                open.push(entry.path());
            } else if meta.is_file() && meta.len() <= MAX_FILE && texts.len() < MAX_FILES {
                texts.extend(fs::read_to_string(entry.path()).ok().map(|text| (entry.path(), text)));
            }
        }
    }
    texts
}

// covers: A16
#[test]
fn what_developers_send_and_push_every_day_is_not_refused() {
    let scanner = Scanner::new(Fingerprints::default()).unwrap();
    let packages = packages();
    let mut messages = 0;
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in &packages {
        for (path, text) in texts(package) {
            messages += 1;
            let shown = path.strip_prefix(package.parent().unwrap()).unwrap().display().to_string();
            if TRUE.iter().any(|known| shown.contains(known)) {
                continue;
            }
            let conversation = serde_json::json!({"messages": [{"role": "user", "content": text}]}).to_string();
            let as_message = scanner.scan_message(Some("application/json"), conversation.as_bytes());
            let as_file = scanner.scan_file(&shown, text.as_bytes());
            for finding in as_message.into_iter().chain(as_file) {
                found.entry(finding.rule).or_default().push(shown.clone());
            }
        }
    }
    assert!(packages.len() >= MIN_PACKAGES && messages >= MIN_MESSAGES, "only {} packages and {messages} messages", packages.len());
    assert!(found.is_empty(), "of {messages} messages: {found:#?}");
}
