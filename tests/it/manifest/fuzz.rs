//! Manifests that nobody would write: random damage, and documents made to cost time or memory.

use std::time::{Duration, Instant};

use bottle::commands::schema;
use bottle::manifest::front_matter;
use bottle::manifest::raw;
use proptest::prelude::*;
use serde_json::Value;

use crate::manifest::bottle;

const FULL: &str = r#"extends: offline
env:
  LOG_LEVEL: debug
  EDITOR: ${EDITOR}
egress:
  routes:
    - host: api.github.com
      matches:
        - methods: [GET]
          paths: [/repos/acme/]
      auth:
        header: authorization
        scheme: token
        token_ref: GITHUB_TOKEN
    - host: "*.example.org:8443"
  trust: [a.pem]
  proxy:
    address: 192.0.2.7:3128
    ca: b.pem
git:
  repos: []
supervise: false
limits:
  memory: 4GiB
  pids: 512
  time: 2h
rootfs:
  image: a.tar
tools: [/opt/x]
workspace: overlay
"#;

/// Lines of [`FULL`] in front of which a key of a mapping may stand, with its indentation. Absent: inside `env`, whose keys
/// are free, and inside `rootfs`, which has one.
const SLOTS: [(usize, usize); 9] = [(0, 0), (1, 0), (5, 2), (7, 6), (9, 10), (12, 8), (17, 4), (20, 2), (23, 2)];

/// Every key in the document is one that the schema has in that place. The schema is generated; this walk is not.
pub(crate) fn known(value: &Value, schema: &Value, root: &Value) -> Result<(), String> {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    };
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices.iter().any(|choice| match choice.get("const") {
            Some(word) => word == value,
            None => !value.is_string() && known(value, choice, root).is_ok(),
        });
        return if fits { Ok(()) } else { Err(format!("{value} is no choice")) };
    }
    match value {
        Value::Object(map) => map.iter().try_for_each(|(key, value)| match (&schema["properties"][key], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false) | Value::Null) => Err(format!("unknown key {key}")),
            (Value::Null, free) => known(value, free, root),
            (property, _) => known(value, property, root),
        }),
        Value::Array(list) => list.iter().try_for_each(|value| known(value, &schema["items"], root)),
        _ => Ok(()),
    }
}

fn check(yaml: &str) {
    let accepted = bottle(yaml);
    if let Err(error) = &accepted {
        assert_eq!(error.lines().count(), 3, "{error}");
        assert!(!error.contains(":0:"), "no place: {error}");
    }
    let document: Result<Value, _> = bottle::yaml::parse(&format!("---\n{yaml}\n"));
    if let (Ok(_), Ok(document)) = (accepted, document) {
        let schema = schema::schema::<raw::Bottle>();
        known(&document, &schema, &schema).unwrap_or_else(|error| panic!("{error} was accepted:\n{yaml}"));
    }
}

// covers: F19
#[test]
fn the_document_that_is_damaged_below_is_sound() {
    bottle(FULL).unwrap();
    check(FULL);
    for (line, indent) in SLOTS {
        let error = bottle(&with_key("zzz", line, indent)).unwrap_err();
        assert!(error.contains(&format!("b.md:{}:{}: unknown key `zzz`", line + 2, indent + 1)), "slot {line}: {error}");
    }
}

fn with_key(key: &str, line: usize, indent: usize) -> String {
    let mut lines: Vec<String> = FULL.lines().map(str::to_owned).collect();
    lines.insert(line, format!("{}{key}: 1", " ".repeat(indent)));
    lines.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    // covers: F19
    #[test]
    fn an_unknown_key_is_refused_wherever_it_stands(key in "[a-zA-Z_-][a-zA-Z0-9_-]{0,12}", slot in 0..SLOTS.len()) {
        let (line, indent) = SLOTS[slot];
        let keys = ["extends", "env", "egress", "git", "supervise", "limits", "rootfs", "tools", "workspace", "routes", "trust", "proxy", "host", "matches",
            "auth", "connect", "methods", "paths", "header", "scheme", "token_ref", "address", "ca", "repos", "memory", "scratch", "pids", "time"];
        prop_assume!(!keys.contains(&key.as_str()) && !key.starts_with('-'));
        let error = bottle(&with_key(&key, line, indent)).unwrap_err();
        prop_assert!(error.contains(&format!("b.md:{}:{}: unknown key `{key}`", line + 2, indent + 1)), "{error}");
    }

    #[test]
    fn a_damaged_manifest_is_refused_or_says_only_known_things(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..4usize, any::<prop::sample::Index>()), 1..6),
        piece in prop::sample::select(vec![":", "-", "{", "}", "[", "]", "'", "\"", "*", "&a", "!", "|", ">", "?", "#", "\n", "\n  ", "  ", "\t", "<<", "...", "---",
            "%", "@", "`", "é", "\u{feff}", "\u{2028}", "$", "~", "null", "0x1", "1e999", ".nan", "x", ": ", "\\"]),
    ) {
        let mut text: Vec<char> = FULL.chars().collect();
        for (place, kind, other) in edits {
            if text.is_empty() { break }
            let at = place.index(text.len());
            match kind {
                0 => drop(text.remove(at)),
                1 => drop(text.splice(at..at, piece.chars())),
                2 => { let from = other.index(text.len()); text.swap(at, from); }
                _ => {
                    let from = other.index(text.len());
                    let copy = text[from.min(at)..from.max(at)].to_vec();
                    drop(text.splice(at..at, copy));
                }
            }
        }
        check(&text.into_iter().collect::<String>());
    }

    #[test]
    fn no_bytes_make_the_splitter_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "(---\r?\n)?[a-z:\r\n\t -]{0,40}(\r?\n---)?.{0,20}") {
        let _ = front_matter::split(&bytes);
        if let Ok(document) = front_matter::split(text.as_bytes()) {
            prop_assert!(document.yaml.starts_with("---\n") && !document.yaml.contains('\r'));
        }
    }
}

/// What the table in `bottle_contract::host` says, label by label.
fn reference(pattern: &str, host: &str) -> bool {
    let labels = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().split('.').map(str::to_owned).collect::<Vec<_>>();
    match (pattern, pattern.strip_prefix("*.")) {
        ("*", _) => true,
        (_, Some(suffix)) => {
            let (host, suffix) = (labels(host), labels(suffix));
            host.len() > suffix.len() && host.ends_with(&suffix)
        }
        (exact, None) => labels(exact) == labels(host),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    // covers: F22
    #[test]
    fn a_route_names_the_hosts_that_its_table_says(pattern in "(\\*\\.)?([aAx]{1,2}\\.){0,2}(test|TEST|evil)\\.?|\\*", host in "([aAx]{1,2}\\.){0,3}(test|Test|evil)\\.?") {
        let bottle = bottle(&format!("egress: {{ routes: [{{ host: '{pattern}' }}] }}")).unwrap();
        let parsed = bottle_contract::host::Host::parse(&host).unwrap();
        prop_assert_eq!(bottle.egress.routes[0].host.matches(&parsed), reference(&pattern, &host));
    }
}

// covers: F19
#[test]
fn a_document_that_multiplies_or_nests_is_refused_at_once() {
    let bomb = {
        let mut text = "env: &a0 { A: x }\n".to_owned();
        for level in 1..12 {
            let previous = format!("*a{}, ", level - 1).repeat(10);
            text.push_str(&format!("k{level}: &a{level} [{previous}]\n"));
        }
        text
    };
    let list_bomb = {
        let anchors: String = (1..12).map(|n| format!(", &a{n} [{}]", format!("*a{}, ", n - 1).repeat(9))).collect();
        format!("tools: [&a0 [x, x, x, x, x, x, x, x, x]{anchors}]")
    };
    let room = 200 * 1024;
    for (name, text) in [
        ("aliases under unknown keys", bomb),
        ("aliases in a list", list_bomb),
        ("flow nesting", format!("tools: {}", "[".repeat(room))),
        ("flow mappings", format!("env: {}", "{a: ".repeat(room / 4))),
        ("block nesting", (0..600).map(|n| format!("{}a:\n", " ".repeat(n))).collect()),
        ("block sequences", format!("tools: \n  {}", "- ".repeat(room / 2))),
        ("explicit keys", "? ".repeat(room / 2)),
        ("anchors", format!("tools: [{}]", (0..room / 8).map(|n| format!("&a{n} x, ")).collect::<String>())),
        ("empty entries", format!("tools: [{}]", "x,".repeat(room / 2))),
        ("keys", format!("env: {{{}}}", (0..room / 12).map(|n| format!("A{n}: x, ")).collect::<String>())),
        ("an open quote", format!("env: {{ A: \"{}", "x\n ".repeat(room / 3))),
        ("one long plain text", format!("zz{}", "a".repeat(room))),
        ("colons", ":".repeat(room)),
        ("tags", format!("tools: [{}]", "!a!b ".repeat(room / 5))),
        ("comments", "#\n".repeat(room / 2) + "zzz: 1"),
    ] {
        let start = Instant::now();
        let error = bottle(&text).expect_err(name);
        assert_eq!(error.lines().count(), 3, "{name}: {error}");
        assert!(error.len() < 1500, "{name}: an error of {} bytes", error.len());
        // Debug builds on a loaded machine; a quadratic parser would need minutes.
        assert!(start.elapsed() < Duration::from_secs(5), "{name} took {:?}", start.elapsed());
    }
}
