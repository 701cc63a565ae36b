//! The shape of the source: who may depend on whom, and that each file says what it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules of the supervisor each module may name. A missing arrow is a decision; add one only with a reason.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "backend",
        &[
            "ca",
            "clock",
            "digest",
            "error",
            "files",
            "image",
            "manifest",
            "plan",
            "agent_program",
            "render",
            "store",
            "sys",
            "values",
            "workspace",
        ],
    ),
    ("ca", &["error"]),
    ("cli", &["commands", "error", "help", "manifest", "store", "terminal"]),
    ("clock", &[]),
    (
        "commands",
        &[
            "backend",
            "clock",
            "digest",
            "doctor",
            "error",
            "files",
            "help",
            "image",
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
            "values",
            "workspace",
            "yaml",
        ],
    ),
    ("digest", &[]),
    ("doctor", &["backend", "error", "help", "manifest", "plan", "store", "sys"]),
    ("error", &[]),
    ("files", &["digest", "error"]),
    ("help", &[]),
    ("image", &["digest", "error", "files", "manifest", "signals", "store", "yaml"]),
    ("lifecycle", &["backend", "clock", "error", "files", "logs", "plan", "signals", "store", "sys", "terminal", "timeline"]),
    ("limits", &["error"]),
    ("logs", &["clock", "error", "files"]),
    ("manifest", &["error", "suggest", "yaml"]),
    ("plan", &["manifest"]),
    ("agent_program", &["plan"]),
    ("render", &["manifest", "plan"]),
    ("signals", &["sys"]),
    ("store", &["clock", "digest", "error", "files", "manifest"]),
    ("suggest", &[]),
    ("sys", &[]),
    ("terminal", &["error", "help", "signals", "sys"]),
    ("timeline", &["clock", "digest", "error", "files", "logs"]),
    ("values", &["error", "manifest", "plan"]),
    ("workspace", &["clock", "digest", "error", "files", "manifest", "signals", "store"]),
    ("yaml", &["suggest"]),
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

#[test]
fn modules_depend_only_along_the_arrows_of_the_map() {
    let allowed: BTreeMap<_, BTreeSet<_>> = ARROWS.iter().map(|(from, to)| (*from, to.iter().copied().collect())).collect();
    let mut strays = Vec::new();
    for path in sources("src") {
        let relative = path.strip_prefix(root().join("src")).unwrap();
        let module = relative.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
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
    assert_eq!(strays, Vec::<String>::new());
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
