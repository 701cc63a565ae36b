//! Private keys are found whatever tools put around their lines.

#[path = "../../../tests/cases/evasion/mod.rs"]
mod corpus;

use bottle_scan::{Finding, Fingerprints, Scanner};
use corpus::keys;

const RULES: [&str; 4] = ["private-key", "private-key-lines", "private-key-head", "openssh-private-key"];

fn scanner() -> Scanner {
    Scanner::new(Fingerprints::default()).unwrap()
}

fn is_found(finding: Option<Finding>) -> bool {
    finding.is_some_and(|finding| RULES.contains(&finding.rule.as_str()))
}

fn in_pieces(scanner: &Scanner, text: &[u8], cuts: &[usize]) -> Option<Finding> {
    let mut stream = scanner.stream();
    let mut from = 0;
    for &cut in cuts {
        stream.push(&text[from..cut]);
        from = cut;
    }
    stream.push(&text[from..]);
    stream.finish()
}

// covers: A01
#[test]
fn each_kind_of_private_key_is_found_whatever_stands_around_its_lines() {
    let scanner = scanner();
    let mut missed = Vec::new();
    for seed in 1..6 {
        for key in keys::all(seed) {
            for (frame, around) in keys::FRAMES {
                if !is_found(scanner.scan(around(&key.pem).as_bytes())) {
                    missed.push(format!("{}, {frame} ({seed})", key.name));
                }
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

// covers: A01
#[test]
fn a_private_key_without_its_begin_line_is_found_by_its_head() {
    let scanner = scanner();
    let mut missed = Vec::new();
    for key in keys::all(7).into_iter().filter(|key| key.has_a_head && !key.name.contains("narrow")) {
        for (frame, around) in keys::FRAMES {
            let body: String = key.pem.lines().filter(|line| !line.starts_with("-----")).map(|line| format!("{line}\n")).collect();
            if !is_found(scanner.scan(around(&body).as_bytes())) {
                missed.push(format!("{}, {frame}", key.name));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

// covers: A01 D06
#[test]
fn a_private_key_is_found_wherever_a_stream_is_cut() {
    let scanner = scanner();
    for key in keys::all(8) {
        let numbered: String = key.pem.lines().enumerate().map(|(i, line)| format!("{:>6}\u{2192}{line}\n", i + 1)).collect();
        let whole = scanner.scan(numbered.as_bytes());
        assert!(is_found(whole.clone()), "{}", key.name);
        for cut in 0..numbered.len().min(400) {
            assert_eq!(in_pieces(&scanner, numbered.as_bytes(), &[cut]), whole, "{} cut at {cut}", key.name);
        }
    }
}

// covers: A01 D06
#[test]
fn a_private_key_is_found_wherever_a_window_ends() {
    let scanner = scanner();
    let filler = "lorem ipsum dolor sit amet ".repeat(12_000);
    for key in keys::all(9) {
        let numbered: String = key.pem.lines().enumerate().map(|(i, line)| format!("{:>6}\u{2192}{line}\n", i + 1)).collect();
        for window in [128 << 10, 256 << 10] {
            for before in (0..numbered.len().min(700)).step_by(97) {
                let text = [&filler[..window - before], "\n", &numbered, &filler[..1000]].concat();
                assert!(is_found(scanner.scan(text.as_bytes())), "{}, {before} bytes before {window}", key.name);
                assert!(is_found(in_pieces(&scanner, text.as_bytes(), &[window - before + 40])), "{}, in pieces", key.name);
            }
        }
    }
}
