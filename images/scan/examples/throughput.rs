//! Throughput of one core by kind of content, and what a regex engine makes of the same rules, one after the other, in the same run:
//! `cargo run -rp bottle-scan --example throughput -- [--json] [KIND…]`.
#![expect(clippy::print_stdout, reason = "a tool for the terminal")]

#[path = "../tests/support/corpus.rs"]
mod corpus;

use std::hint::black_box;
use std::time::Duration;

use bottle_scan::{Fingerprints, NOT_SCANNABLE, Scanner};
use regex::bytes::Regex;

/// Longer than the scanner's windows, so that what they have in common counts.
const SIZE: usize = 1 << 20;
/// Of each contestant, alternated; the first warms up.
const ROUNDS: usize = 9;
/// How long one round lasts at least.
const ROUND: Duration = Duration::from_millis(60);

fn main() {
    let (options, kinds): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let json = options.iter().any(|option| option == "--json");
    let secrets: [&[u8]; 3] = [
        b"sk-ant-oat01-qX7f_2LmV9bZtR4kK8pHs0Nc5Jy3Gd6Fa1QewT",
        b"ghq_u8R2mK5vX1cB7nQ4wE9zL3pT6yH0jD5sA1f",
        b"Tz5pWq8xNb2vKm7jHr4cLs9gYd3fAe6u",
    ];
    let scanner = Scanner::new(Fingerprints::of([42; 32], &secrets)).expect("the built-in rules are valid");
    let rules = rules();
    for (kind, bytes) in corpus::benign(SIZE).into_iter().chain(corpus::hostile(SIZE)) {
        if !kinds.is_empty() && !kinds.iter().any(|wanted| wanted == kind) {
            continue;
        }
        let scans = || {
            let finding = scanner.scan(&bytes);
            assert!(finding.as_ref().is_none_or(|found| found.rule == NOT_SCANNABLE), "{kind}: {finding:?}");
        };
        let matches = || {
            black_box(rules.iter().filter(|rule| rule.is_match(&bytes)).count());
        };
        let rounds: Vec<(f64, f64)> = (0..=ROUNDS).map(|_| (speed(scans), speed(matches))).skip(1).collect();
        let scanner = median(rounds.iter().map(|(scanner, _)| *scanner));
        let regex = median(rounds.iter().map(|(_, regex)| *regex));
        match json {
            true => println!("{}", serde_json::json!({ "kind": kind, "scanner": scanner, "regex": regex, "rules": rules.len() })),
            false => println!("{kind:<16}{scanner:>8.0} MB/s, {} rules by regex {regex:>6.1} MB/s", rules.len()),
        }
    }
}

/// The expressions of the built-in rules.
fn rules() -> Vec<Regex> {
    let file: toml::Table = include_str!("../rules.toml").parse().expect("the built-in rules are valid");
    let rules = file["rules"].as_array().expect("the rules are a list");
    let expressions = rules.iter().filter_map(|rule| rule.get("regex")?.as_str());
    expressions.map(|text| Regex::new(text).expect("the expression is valid")).collect()
}

/// MB/s of one round.
fn speed(contestant: impl Fn()) -> f64 {
    let (start, mut times) = (on_cpu(), 0_u32);
    while times == 0 || on_cpu() - start < ROUND {
        contestant();
        times += 1;
    }
    f64::from(times) * SIZE as f64 / (on_cpu() - start).as_secs_f64() / 1e6
}

/// Time that this thread has spent on a processor: what else the machine does must not count (proc_pid_schedstat, first field).
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel keeps scheduler statistics");
    let nanoseconds = text.split_ascii_whitespace().next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.expect("the first field is a number"))
}

fn median(speeds: impl Iterator<Item = f64>) -> f64 {
    let mut speeds: Vec<f64> = speeds.collect();
    speeds.sort_by(f64::total_cmp);
    speeds[speeds.len() / 2]
}
