//! The shape of the source: which module may depend on which, and that files and constants have telling names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules of the supervisor each module may name. A missing arrow is a decision; add one only with a reason.
const ARROWS: &[(&str, &[&str])] = &[
    ("asks", &["digest", "manifest"]),
    (
        "backend",
        &["ca", "clock", "digest", "error", "files", "manifest", "plan", "agent_program", "render", "store", "sys", "values", "workspace"],
    ),
    ("ca", &["error"]),
    ("cli", &["agent_program", "commands", "error", "help", "manifest", "store", "terminal"]),
    ("clock", &[]),
    (
        "commands",
        &[
            "asks",
            "backend",
            "clock",
            "control_socket",
            "digest",
            "doctor",
            "error",
            "files",
            "help",
            "lifecycle",
            "limits",
            "logs",
            "manifest",
            "plan",
            "agent_program",
            "render",
            "signals",
            "store",
            "suggest",
            "terminal",
            "timeline",
            "tokens",
            "values",
            "workspace",
            "yaml",
        ],
    ),
    ("control_socket", &["asks", "error", "files"]),
    ("doctor", &["backend", "error", "help", "manifest", "plan", "store", "sys"]),
    ("help", &[]),
    (
        "lifecycle",
        &[
            "asks",
            "backend",
            "clock",
            "control_socket",
            "digest",
            "error",
            "files",
            "logs",
            "plan",
            "signals",
            "store",
            "sys",
            "terminal",
            "timeline",
            "trusted_program",
            "values",
        ],
    ),
    ("limits", &["error"]),
    ("logs", &["clock", "error", "files"]),
    ("manifest", &["error", "suggest", "yaml"]),
    ("plan", &["manifest"]),
    ("agent_program", &["plan"]),
    ("render", &["manifest", "plan"]),
    ("signals", &["sys"]),
    ("store", &["clock", "digest", "error", "files", "manifest"]),
    ("sys", &[]),
    ("terminal", &["error", "help", "signals", "sys"]),
    ("timeline", &["clock", "digest", "error", "files", "logs"]),
    ("tokens", &["clock", "error", "manifest", "signals", "sys", "trusted_program"]),
    ("trusted_program", &[]),
    ("values", &["error", "manifest", "plan"]),
    ("workspace", &["clock", "digest", "error", "files", "manifest", "signals", "store"]),
];

/// The same for the crates below the supervisor, whose own modules are named by `crate::`: the folder, and the crates that it may name.
const CRATES: &[(&str, &[&str])] = &[("src/base", &["bottle_contract"]), ("images/builder/src", &["bottle_base", "bottle_contract"])];

/// Which modules of the image builder each of them may name; no circle.
const BUILDER: &[(&str, &[&str])] = &[
    ("archive", &["layer"]),
    ("attestations", &["epoch", "inputs", "materials", "recipe", "store"]),
    ("build", &["attestations", "directory", "epoch", "hashed", "inputs", "layer", "oci", "path", "recipe", "store", "tree", "ustar"]),
    ("compare", &["archive", "hashed", "layer"]),
    ("directory", &["path", "tree"]),
    ("epoch", &[]),
    ("hashed", &[]),
    ("inputs", &["epoch", "materials", "recipe"]),
    ("layer", &[]),
    ("library", &["recipe"]),
    ("materials", &[]),
    ("oci", &["epoch", "recipe"]),
    ("path", &[]),
    ("recipe", &["path", "tree"]),
    ("store", &[]),
    ("tree", &["path"]),
    ("unpack", &["archive", "layer"]),
    ("ustar", &["path"]),
    ("verify", &["attestations", "build", "compare", "epoch", "inputs", "recipe", "store"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(below: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead = vec![root().join(below)];
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                ahead.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The modules that a file of the supervisor names, by `crate::name` and `crate::{name, …}`.
fn named(text: &str) -> BTreeSet<String> {
    let first_word = |text: &str| text.trim().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    let mut names = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => names.extend(list.split('}').next().unwrap_or("").split(',').map(first_word)),
            None => drop(names.insert(first_word(rest))),
        }
    }
    names.remove("");
    names
}

/// Names that a map does not allow, and modules that are not on it. `ahead` are crates of their own below the folder.
fn strays(folder: &str, map: &[(&str, &[&str])], ahead: &[&str]) -> Vec<String> {
    let allowed: BTreeMap<_, BTreeSet<_>> = map.iter().map(|(from, to)| (*from, to.iter().copied().collect())).collect();
    let mut strays = Vec::new();
    for path in sources(folder) {
        let relative = path.strip_prefix(root().join(folder)).unwrap();
        let module = relative.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if matches!(module, "lib" | "main") || ahead.contains(&module) {
            continue;
        }
        let Some(arrows) = allowed.get(module) else {
            strays.push(format!("{module} is not on the map"));
            continue;
        };
        for name in named(&fs::read_to_string(&path).unwrap()) {
            if name != module && !arrows.contains(name.as_str()) {
                strays.push(format!("{}: {module} → {name}", relative.display()));
            }
        }
    }
    strays
}

#[test]
fn modules_depend_only_along_the_arrows_of_the_map() {
    assert_eq!(strays("src", ARROWS, &["base"]), Vec::<String>::new());
    assert_eq!(strays("images/builder/src", BUILDER, &[]), Vec::<String>::new());
}

#[test]
fn no_map_has_a_circle() {
    for map in [ARROWS, BUILDER] {
        let mut left: BTreeMap<_, BTreeSet<_>> = map.iter().map(|(from, to)| (*from, to.iter().copied().collect())).collect();
        while let Some(lowest) =
            left.iter().find(|(_, to)| to.iter().all(|to| !map.iter().any(|(from, _)| from == to))).map(|(from, _)| *from)
        {
            left.remove(lowest);
            left.values_mut().for_each(|to| {
                to.remove(lowest);
            });
        }
        assert_eq!(left, BTreeMap::new());
    }
}

#[test]
fn crates_below_the_supervisor_know_only_what_lies_below_them() {
    let mut strays = Vec::new();
    for (folder, allowed) in CRATES {
        for path in sources(folder) {
            let text = fs::read_to_string(&path).unwrap();
            let word = |rest: &str| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
            for name in text.split("bottle_").skip(1).map(|rest| format!("bottle_{}", word(rest))) {
                if !allowed.contains(&name.as_str()) {
                    strays.push(format!("{}: {name}", path.strip_prefix(root()).unwrap().display()));
                }
            }
        }
    }
    assert_eq!(strays, Vec::<String>::new());
}

#[test]
fn no_file_of_a_backend_or_of_the_lifecycle_imports_one_that_imports_it() {
    let is_ours = |module: &str| ["backend", "lifecycle"].iter().any(|ours| module.split("::").next() == Some(*ours));
    let mut circles = bottle_test_support::imports::circles(&root().join("src"));
    circles.retain(|(one, other)| is_ours(one) || is_ours(other));
    assert_eq!(circles, []);
}

#[test]
fn every_file_opens_with_a_sentence_that_says_what_it_is() {
    let mut silent = Vec::new();
    for path in ["src", "images", "tests"].iter().flat_map(|below| sources(below)) {
        let text = fs::read_to_string(&path).unwrap();
        if !text.starts_with("//! ") {
            silent.push(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
    assert_eq!(silent, Vec::<PathBuf>::new());
}

/// The name of the constant that a line defines.
fn constant(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let definition =
        ["const ", "pub const ", "pub(crate) const ", "pub(super) const "].iter().find_map(|start| line.strip_prefix(start))?;
    Some(definition.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default())
}

#[test]
fn a_constant_says_what_it_bounds() {
    const VAGUE: [&str; 13] =
        ["BEAT", "BREATH", "DEATH", "FRESH", "GONE", "HEAP", "KEPT", "LARGEST", "LONGEST", "MOST", "PATIENCE", "SOON", "TOLD"];
    let is_vague = |name: &str| VAGUE.contains(&name.split('_').next().unwrap_or_default());
    let mut found = Vec::new();
    for path in ["src", "images", "tests"].iter().flat_map(|below| sources(below)) {
        let relative = path.strip_prefix(root()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let names = text.lines().filter_map(constant).filter(|name| is_vague(name));
        found.extend(names.map(|name| format!("{}: {name}", relative.display())));
    }
    assert_eq!(found, Vec::<String>::new());
}

/// Files of commands are exempt: each is named for its command.
#[test]
fn no_file_name_occurs_twice_in_a_crate() {
    let crates = fs::read_dir(root().join("images")).unwrap().map(|entry| entry.unwrap().path().join("src")).filter(|path| path.is_dir());
    let mut twice = Vec::new();
    for sources_of_crate in crates.chain([root().join("src")]) {
        let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
        for path in sources(sources_of_crate.strip_prefix(root()).unwrap().to_str().unwrap()) {
            let relative = path.strip_prefix(root()).unwrap().to_owned();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if matches!(name.as_str(), "lib.rs" | "main.rs" | "mod.rs" | "tests.rs") || relative.starts_with("src/commands") {
                continue;
            }
            if let Some(other) = seen.insert(name, relative.clone()) {
                twice.push(format!("{} and {}", other.display(), relative.display()));
            }
        }
    }
    assert_eq!(twice, Vec::<String>::new());
}

#[test]
fn unsafe_code_of_the_supervisor_is_on_one_island() {
    let mut found = Vec::new();
    for path in sources("src") {
        let relative = path.strip_prefix(root().join("src")).unwrap().to_owned();
        let island = relative.starts_with("sys") || relative == Path::new("main.rs");
        if !island && fs::read_to_string(&path).unwrap().lines().any(|line| line.contains("unsafe {") || line.contains("unsafe fn")) {
            found.push(relative);
        }
    }
    assert_eq!(found, Vec::<PathBuf>::new());
}

#[test]
fn the_supervisor_has_no_asynchronous_runtime_and_no_network_stack() {
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "-p", "bottle", "-e", "normal", "--prefix", "none"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    let names: BTreeSet<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains("bottle-init"), "{text}");
    let refused = ["tokio", "async-std", "smol", "hyper", "rustls", "openssl", "ring", "reqwest", "serde_yaml"];
    assert_eq!(refused.iter().filter(|name| names.contains(**name)).collect::<Vec<_>>(), Vec::<&&str>::new());
}
