//! Redaction: what is replaced, what is refused instead, and that nothing of it leaves, however a document is cut.

#[path = "../../../tests/cases/evasion/mod.rs"]
mod corpus;

use bottle_scan::{BOTTLE_SECRET, Finding, Fingerprints, HONEYTOKEN, Redacted, Scanner};
use corpus::{dice::Dice, encodings, keys, tokens};
use proptest::prelude::*;

fn own() -> String {
    tokens::own(77).replace('/', "_")
}

const BAIT: &str = "canary-5d1f7c0b9e";
const JSON: Option<&str> = Some("application/json");

fn scanner() -> Scanner {
    Scanner::new(Fingerprints::of([3; 32], &[own().as_bytes()]).with_honeytokens(&[BAIT.as_bytes()])).unwrap()
}

/// What leaves of a document that arrives in chunks, and what was replaced in it.
fn redact(scanner: &Scanner, document: &[u8], size: usize) -> Result<(Vec<u8>, Vec<Redacted>), Finding> {
    let mut redactor = scanner.redactor(JSON);
    let (mut out, mut redacted, mut pushed) = (Vec::new(), Vec::new(), 0);
    for chunk in document.chunks(size) {
        redactor.push(chunk)?;
        pushed += chunk.len();
        out.extend(redactor.ready());
        redacted.extend(redactor.redacted());
        assert_eq!(redactor.pending() as usize, pushed - out.len());
    }
    let (rest, more) = redactor.finish()?;
    out.extend(rest);
    redacted.extend(more);
    Ok((out, redacted))
}

/// The same, of a document that may not be refused: its text, and the rules and places.
fn redacted(scanner: &Scanner, document: &str) -> (String, Vec<(String, String)>) {
    let (out, redacted) = redact(scanner, document.as_bytes(), 10_000).unwrap_or_else(|found| panic!("{found:?}: {document}"));
    let out = String::from_utf8(out).unwrap();
    assert_eq!(out.len(), document.len());
    assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{out}");
    assert_eq!(scanner.scan_message(JSON, out.as_bytes()), None);
    (out, redacted.into_iter().map(|one| (one.rule, one.place.unwrap_or_default())).collect())
}

fn conversation(content: &str) -> String {
    let message = |content: &str| serde_json::json!({"role": "user", "content": [{"type": "text", "text": content}]});
    serde_json::json!({"model": "m", "messages": [message("hello"), message(content), message("what is that?")]}).to_string()
}

const TEXT: &str = "messages[1].content[0].text";

// covers: V04
#[test]
fn each_kind_of_token_is_replaced_where_it_stands_and_the_rest_stays() {
    let scanner = scanner();
    let values = tokens::all(23).into_iter().map(|token| (token.rule, token.value)).chain([(BOTTLE_SECRET, own())]);
    for (rule, value) in values {
        for (before, after) in [("", ""), ("KEY=", "\nOTHER=1"), ("the key is \"", "\", I think")] {
            let (out, redacted) = redacted(&scanner, &conversation(&format!("{before}{value}{after}")));
            assert!(!out.contains(&value) && out.contains("[bottle-redacted"), "{out}");
            assert_eq!(redacted.len(), 1, "{rule}");
            assert!(rule.split('|').any(|one| one == redacted[0].0) && redacted[0].1 == TEXT, "{rule}: {redacted:?}");
            let content: serde_json::Value = serde_json::from_str(&out).unwrap();
            let content = content["messages"][1]["content"][0]["text"].as_str().unwrap().to_owned();
            assert!(content.starts_with(before) && content.ends_with(after), "{content}");
        }
    }
}

// covers: V04
#[test]
fn all_lines_of_a_private_key_are_replaced() {
    let scanner = scanner();
    for key in keys::all(29) {
        for (name, frame) in keys::FRAMES {
            let framed = frame(&key.pem);
            let Ok((out, redacted)) = redact(&scanner, conversation(&format!("before {framed} behind")).as_bytes(), 4096) else { continue };
            let out = String::from_utf8(out).unwrap();
            assert!(!redacted.is_empty());
            let lines = key.pem.lines().filter(|line| line.len() > 20 && !line.starts_with("---") && !line.contains(": "));
            let left: Vec<&str> = lines.filter(|line| out.contains(*line)).collect();
            assert!(left.is_empty(), "{}, {name}: {left:?}", key.name);
        }
        let (out, _) = redacted(&scanner, &conversation(&format!("before\n{}behind", key.pem)));
        assert!(out.contains("before\\n[bottle-redacted***") && out.contains("]\\nbehind"), "{}: {out}", key.name);
    }
}

// covers: V04
#[test]
fn several_values_and_copies_of_one_are_all_replaced() {
    let scanner = scanner();
    let all = tokens::all(5);
    let text: Vec<String> = all.iter().map(|token| format!("{}={}", token.name, token.value)).collect();
    let (out, redacted) = redacted(&scanner, &conversation(&text.join("\n")));
    assert_eq!(redacted.len(), all.len());
    assert!(all.iter().all(|token| !out.contains(&token.value)));

    // Without the name beside it no rule would know the second one.
    let secret = "wJq7XtnFEMI_K7MDENGobPxRfiCY3q8Zk4LmV2Tb".replace('_', "/");
    let named = format!("aws_secret_access_key = {secret}");
    let twice = serde_json::json!({"a": named, "b": [format!("again: {secret}.")], "c": secret}).to_string();
    let (out, places) = self::redacted(&scanner, &twice);
    assert!(!out.contains(&secret), "{out}");
    let rule = "aws-secret-access-key".to_owned();
    assert_eq!(places, ["a", "b[0]", "c"].map(|place| (rule.clone(), place.to_owned())));
    let (_, twice) = redact(&scanner, br#"{"a":"x","a":"ghp_"}"#, 3).unwrap();
    assert_eq!(twice, []);
}

/// The rule of a document that is refused.
fn refused(scanner: &Scanner, document: &[u8]) -> Option<String> {
    [1, 7, usize::MAX].map(|size| redact(scanner, document, size).err().map(|found| found.rule)).into_iter().reduce(|a, b| {
        assert_eq!(a, b);
        a
    })?
}

// covers: V04 D08
#[test]
fn what_has_no_exact_place_is_refused() {
    let scanner = scanner();
    let all = tokens::all(23);
    let token = all[0].value.as_str();
    let escaped = |text: &str| text.chars().map(|c| format!("\\u{:04x}", c as u32)).collect::<String>();
    let (head, tail) = token.split_at(20);
    let utf16: Vec<u8> = format!("\u{feff}[\"{token}\"]").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let base64 = |text: &str| String::from_utf8(encodings::base64(text.as_bytes(), false, true)).unwrap();
    let own = own();
    for (name, document) in [
        ("escaped", format!("[\"{}\"]", escaped(token)).into_bytes()),
        ("one character escaped", format!("[\"\\u0067{}\"]", &token[1..]).into_bytes()),
        ("in base64", format!("[\"{}\"]", base64(token)).into_bytes()),
        ("its own in base64", format!("[\"{}\"]", base64(&own)).into_bytes()),
        ("its own reversed", format!("[\"{}\"]", own.chars().rev().collect::<String>()).into_bytes()),
        ("beside its base64", format!("[\"{token}\",\"{}\"]", base64(token)).into_bytes()),
        ("split over strings", format!("[\"{head}\",\"{tail}\"]").into_bytes()),
        ("split over keys", format!("{{\"{head}\":1,\"{tail}\":2}}").into_bytes()),
        ("a key", format!("{{\"{token}\":1}}").into_bytes()),
        ("a number", b"{\"card_number\": 4539148803436467}".to_vec()),
        ("UTF-16", utf16),
        ("no JSON", format!("key={token}").into_bytes()),
        ("behind JSON", format!("{{}} {token}").into_bytes()),
        ("in a comment", format!("{{/* \"{token}\" */\"a\":1}}").into_bytes()),
        ("single quotes", format!("{{'a':'{token}'}}").into_bytes()),
        ("bait", format!("[\"{BAIT}\"]").into_bytes()),
    ] {
        assert!(refused(&scanner, &document).is_some(), "{name}");
    }
    assert_eq!(refused(&scanner, format!("[\"{BAIT}\"]").as_bytes()).as_deref(), Some(HONEYTOKEN));
    // A byte order mark is no reason, nor is a value that stands twice under one name.
    for document in [format!("\u{feff}[\"{token}\"]"), format!("{{\"a\":\"{token}\",\"a\":\"{token}\"}}")] {
        assert_eq!(refused(&scanner, document.as_bytes()), None, "{document}");
    }
}

// covers: V04
#[test]
fn a_part_of_a_long_secret_of_the_bottles_own_is_refused() {
    let secret = Dice::new(9).text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 120);
    let scanner = Scanner::new(Fingerprints::of([3; 32], &[secret.as_bytes()])).unwrap();
    assert_eq!(refused(&scanner, conversation(&secret).as_bytes()).as_deref(), Some(BOTTLE_SECRET));
}

// covers: V04
#[test]
fn a_secret_at_the_edge_of_a_window_is_replaced_whole_however_the_document_is_cut() {
    let scanner = scanner();
    let all = tokens::all(31);
    let long = all.iter().max_by_key(|token| token.value.len()).unwrap();
    let key = &keys::all(29)[0].pem;
    for edge in [128 << 10, 256 << 10, (256 << 10) + (112 << 10)] {
        for before in (0..12).map(|step| edge - 6 + step).chain((0..20).map(|step| edge - 13_000 + step * 700)) {
            for value in [&long.value, key] {
                let filler = "a b c d ".repeat(before / 8);
                let document = serde_json::json!([filler, format!("{value} \u{e9} tail"), "x y ".repeat(9000)]).to_string();
                let (out, redacted) = redact(&scanner, document.as_bytes(), 50_000).unwrap_or_else(|found| panic!("{found:?} at {before}"));
                assert_eq!((out.len(), redacted.len()), (document.len(), 1), "at {before}");
                let tail = value.trim_end().lines().next_back().unwrap();
                let text = String::from_utf8(out).unwrap();
                assert!(
                    !text.contains(&tail[tail.len() - 12..]) && text.contains("] é tail") || text.contains("]\\n é tail"),
                    "at {before}"
                );
            }
        }
    }
}

// covers: V04
#[test]
fn nothing_of_a_value_is_let_go_before_it_is_replaced() {
    let scanner = scanner();
    let token = &tokens::all(23)[0].value;
    let at = 300_000;
    let document = format!("[\"{}{token}{}\"]", "a b c d ".repeat(at / 8), " e f g h".repeat(at / 8));
    let mut redactor = scanner.redactor(JSON);
    let mut out = Vec::new();
    for chunk in document.as_bytes().chunks(1000) {
        redactor.push(chunk).unwrap();
        out.extend(redactor.ready());
        assert!(!out.windows(8).any(|part| part == &token.as_bytes()[..8]));
    }
    assert!(out.len() > 400_000, "{} bytes left while the document arrived", out.len());
    out.extend(redactor.finish().unwrap().0);
    assert_eq!(out.len(), document.len());
}

// covers: V04
#[test]
fn a_model_that_repeats_a_placeholder_is_not_refused_and_hides_nothing_behind_it() {
    let scanner = scanner();
    let named = |value: &str| conversation(&format!("aws_secret_access_key = {value}\npostgres://app:{value}@db.host.test/x"));
    let document = named("[bottle-redacted***********************]");
    assert_eq!(redacted(&scanner, &document), (document.clone(), vec![]));
    let token = &tokens::all(23)[0].value;
    let (out, places) = redacted(&scanner, &conversation(&format!("[bottle-redacted***]{token}[bottle-redacted***]")));
    assert!(!out.contains(&token[..12]) && places.len() == 1, "{out}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    // covers: V04 D02
    #[test]
    fn what_was_redacted_never_occurs_in_what_left_in_any_of_its_encodings(
        seed in any::<u64>(),
        kind in 0usize..29,
        parts in prop::collection::vec((0usize..9, 0usize..5, "[ -~é😀\\n]{0,40}"), 1..12),
        cut in 1usize..5000,
    ) {
        let scanner = scanner();
        let mut all = tokens::all(seed);
        all.push(tokens::Token { name: "own", rule: BOTTLE_SECRET, value: own() });
        let value = all[kind % all.len()].value.clone();
        let texts: Vec<serde_json::Value> = parts.iter().map(|(form, shape, text)| {
            let encoded = match form {
                0..6 => value.clone(),
                6 => String::from_utf8(encodings::base64(value.as_bytes(), false, true)).unwrap(),
                7 => value.bytes().map(|b| format!("{b:02x}")).collect(),
                _ => value.bytes().map(|b| format!("%{b:02X}")).collect(),
            };
            match shape {
                0 => serde_json::json!(format!("{text}{encoded}{text}")),
                1 => serde_json::json!({"content": format!("{text} {encoded}")}),
                2 => serde_json::json!([serde_json::json!({"nested": format!("key={encoded} {text}")}).to_string()]),
                3 => serde_json::json!(text),
                _ => serde_json::json!({"n": 1, "content": [null, true, format!("\"{encoded}\"")]}),
            }
        }).collect();
        let document = serde_json::json!({"messages": texts}).to_string();
        if let Ok((out, redacted)) = redact(&scanner, document.as_bytes(), cut) {
            prop_assert_eq!(out.len(), document.len());
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
            if !redacted.is_empty() {
                for form in bottle_scan::fingerprint::forms_of(value.as_bytes()) {
                    prop_assert!(memchr::memmem::find(&out, &form).is_none(), "{}", String::from_utf8_lossy(&out));
                }
            }
            prop_assert_eq!(redact(&scanner, document.as_bytes(), usize::MAX).map(|(out, _)| out), Ok(out));
        } else {
            prop_assert!(redact(&scanner, document.as_bytes(), usize::MAX).is_err());
        }
    }
}
