//! Every kind of secret, in every encoding, at every place, is found; and no harmless message is taken for one.
//! `cargo test -p bottle-scan --test evasion -- --nocapture` prints each case by name.
#![expect(clippy::print_stderr, reason = "the table of cases")]

#[path = "../../../tests/cases/evasion/mod.rs"]
mod corpus;

use bottle_scan::{BOTTLE_SECRET, Fingerprints, Scanner};
use corpus::{benign, encodings, positions, tokens};

/// Prints the table, and fails with the names of those that failed.
fn report(table: Vec<(String, Option<String>)>, fewest: usize) {
    assert!(table.len() >= fewest, "only {} cases", table.len());
    let mut failed = Vec::new();
    for (name, problem) in table {
        eprintln!("{:<7} {name}", if problem.is_none() { "ok" } else { "FAILED" });
        failed.extend(problem.map(|problem| format!("{name}: {problem}")));
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

/// Where, of all places, the secret was not found.
fn missed(scanner: &Scanner, rule: &str, encoded: &[u8]) -> Option<String> {
    let missed = positions::ALL.iter().filter_map(|(place, message)| match scanner.scan(&message(encoded)) {
        Some(finding) if rule.split('|').any(|rule| finding.rule == rule) => None,
        other => Some(format!("{place}: {:?}", other.map(|finding| finding.rule))),
    });
    let missed: Vec<String> = missed.collect();
    (!missed.is_empty()).then(|| missed.join("; "))
}

// covers: D01 D02 Y04
#[test]
fn every_token_is_found_in_every_encoding_at_every_place() {
    let scanner = Scanner::new(Fingerprints::default()).unwrap();
    let mut table = Vec::new();
    for token in tokens::all(11) {
        for (encoding, encode) in encodings::all() {
            table.push((format!("{}, {encoding}", token.name), missed(&scanner, token.rule, &encode(token.value.as_bytes()))));
        }
    }
    report(table, 250);
}

// covers: D01 D02
#[test]
fn the_bottles_own_secret_is_found_in_every_encoding_at_every_place() {
    let mut table = Vec::new();
    for seed in 1..4 {
        let secret = tokens::own(seed);
        let scanner = Scanner::new(Fingerprints::of([9; 32], &[secret.as_bytes()])).unwrap();
        for (encoding, encode) in encodings::all().into_iter().chain(encodings::of_known()) {
            table.push((format!("own secret {seed}, {encoding}"), missed(&scanner, BOTTLE_SECRET, &encode(secret.as_bytes()))));
        }
    }
    report(table, 250);
}

// covers: D09 Y07
#[test]
fn no_harmless_message_is_taken_for_a_secret() {
    let secret = tokens::own(5);
    let scanner = Scanner::new(Fingerprints::of([9; 32], &[secret.as_bytes()])).unwrap();
    let table = benign::all(20).into_iter().map(|(name, message)| (name, scanner.scan(&message).map(|finding| format!("{finding:?}"))));
    report(table.collect(), 1000);
}
