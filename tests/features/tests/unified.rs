//! Programs and tests share what was compiled: no dependency of the programs has other features in tests.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The features of each package on the way of these kinds of dependencies; each version that is compiled is an entry.
fn features(edges: &str) -> BTreeMap<String, BTreeSet<String>> {
    let arguments = ["tree", "--locked", "--offline", "--workspace", "--prefix", "none", "--format", "{p} [{f}]", "--edges", edges];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.is_empty()) {
        let (package, features) = line.trim_end_matches(" (*)").split_once(" [").unwrap();
        found.entry(package.to_owned()).or_default().insert(features.to_owned());
    }
    found
}

#[test]
fn tests_turn_on_no_feature_that_the_programs_are_not_built_with() {
    let (programs, tests) = (features("normal,build"), features("normal,build,dev"));
    // What a macro is built with is compiled for this machine, and is another thing: there may be more in tests, never less.
    let missing: Vec<_> = programs.iter().filter(|(package, sets)| !sets.is_subset(&tests[*package])).collect();
    assert!(missing.is_empty(), "`tests/features` has to name what tests turn on: {missing:#?}");
}
