//! Programs of the machine that a test needs.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Finds a program on a `PATH`, in its absolute directories only.
pub fn find(name: &str, path: impl AsRef<OsStr>) -> Option<PathBuf> {
    let absolute = env::split_paths(path.as_ref()).filter(|directory| directory.is_absolute());
    let absolute = env::join_paths(absolute).ok().filter(|directories| !directories.is_empty())?;
    which::which_in(name, Some(absolute), "/").ok()
}

/// Finds a program on `PATH`. Where it is missing a developer is told that the test was skipped, and CI fails.
#[expect(clippy::print_stderr, reason = "a skip is said where the test's output is")]
pub fn tool(name: &str) -> Option<PathBuf> {
    let found = find(name, env::var_os("PATH").unwrap_or_default());
    if found.is_none() {
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{name} is not installed, and CI must not skip what needs it");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// The names in a directory, sorted.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}
