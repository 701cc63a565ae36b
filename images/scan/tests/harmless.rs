//! What developers send to a model and push every day: the READMEs, sources, tests, fixtures and lock files of the packages that this very build
//! has downloaded. None of it is refused in a conversation, and of pushes only private keys are.

use std::fs;
use std::path::{Path, PathBuf};

use bottle_scan::{Fingerprints, Scanner};

/// A larger file is no message.
const MAX_FILE: u64 = 96 << 10;
/// So many files of one package: enough to see its style.
const MAX_FILES: usize = 12;
/// Fewer packages would be no corpus, and fewer messages neither.
const MIN_PACKAGES: usize = 200;
const MIN_MESSAGES: usize = 1000;

/// The names and versions of the corpus.
const LOCK: &str = include_str!("../../../Cargo.lock");

/// The packages of the lock file, as cargo has unpacked them for this build.
fn packages() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"));
    let registries = fs::read_dir(home.join("registry/src")).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let registries: Vec<PathBuf> = registries.collect();
    let lock: toml::Table = LOCK.parse().unwrap();
    let named = lock["package"].as_array().unwrap().iter().map(|package| {
        let text = |key: &str| package[key].as_str().unwrap();
        format!("{}-{}", text("name"), text("version"))
    });
    named.filter_map(|name| registries.iter().map(|registry| registry.join(&name)).find(|path| path.is_dir())).collect()
}

/// Texts of a package: what is on top, and what is below the usual directories.
fn texts(package: &Path) -> Vec<(PathBuf, String)> {
    let mut texts = Vec::new();
    let mut open = vec![package.to_owned()];
    while let Some(directory) = open.pop() {
        let mut entries: Vec<_> = fs::read_dir(&directory).into_iter().flatten().filter_map(Result::ok).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let Ok(meta) = entry.metadata() else { continue };
            let name = entry.file_name();
            let is_usual = directory != package || ["tests", "examples", "docs", "src", "fixtures"].iter().any(|usual| name == *usual);
            if meta.is_dir() && is_usual {
                open.push(entry.path());
            } else if meta.is_file() && meta.len() <= MAX_FILE && texts.len() < MAX_FILES {
                texts.extend(fs::read_to_string(entry.path()).ok().map(|text| (entry.path(), text)));
            }
        }
    }
    texts
}

// covers: V04 A16
#[test]
#[expect(clippy::print_stderr, reason = "a skip says what is missing")]
fn what_developers_write_every_day_is_sent_and_but_for_private_keys_pushed() {
    let scanner = Scanner::new(Fingerprints::default()).unwrap();
    let packages = packages();
    if packages.is_empty() && std::env::var_os("CI").is_none() {
        eprintln!("skipped: cargo has unpacked no packages below its home");
        return;
    }
    let (mut messages, mut refused) = (0, Vec::new());
    for (path, text) in packages.iter().flat_map(|package| texts(package)) {
        messages += 1;
        let conversation = serde_json::json!({"messages": [{"role": "user", "content": text}]}).to_string();
        let mut redactor = scanner.redactor(Some("application/json"));
        if let Err(found) = redactor.push(conversation.as_bytes()).and_then(|()| redactor.finish().map(drop)) {
            refused.push((path.clone(), "sent", found.rule));
        }
        let is_key = text.contains("PRIVATE KEY-----");
        let found = scanner.scan_file("file", text.as_bytes()).map(|found| found.rule);
        refused.extend(found.filter(|rule| !is_key || !rule.starts_with("private-key")).map(|rule| (path, "pushed", rule)));
    }
    assert!(packages.len() >= MIN_PACKAGES && messages >= MIN_MESSAGES, "only {} packages and {messages} messages", packages.len());
    assert_eq!(refused, [], "of {messages} messages of {} packages", packages.len());
}
