//! The script that builds the release programs: what it leaves alone, cargo need not compile again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The profiles in a target directory, with their times.
fn profiles(target: &Path) -> Vec<(PathBuf, SystemTime)> {
    let of = |path: PathBuf| (path.clone(), fs::metadata(path).unwrap().modified().unwrap());
    let paths = fs::read_dir(target).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|is| is == "profdata")).map(of).collect()
}

#[test]
fn a_second_build_finds_the_profile_as_the_first_one_left_it() {
    let target = tempfile::tempdir().unwrap();
    let build = || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/programs.sh");
        // `true` is a cargo that has nothing to do.
        let mut command = Command::new("sh");
        command
            .arg(script)
            .env("CARGO", "true")
            .env("CARGO_TARGET_DIR", target.path())
            .env("BOTTLE_VENDORED", target.path())
            .env_remove("BOTTLE_PROFILE");
        assert!(command.status().unwrap().success());
        profiles(target.path())
    };
    let first = build();
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(build(), first);
}
