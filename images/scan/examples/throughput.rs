//! Throughput of one core by kind of content, the best of many short rounds: `cargo run -rp bottle-scan --example throughput [KIND]`.
//! On a busy machine the best round says more than a mean.
#![expect(clippy::print_stdout, reason = "a tool for the terminal")]

#[path = "../tests/support/corpus.rs"]
mod corpus;

use std::time::{Duration, Instant};

use bottle_scan::{Fingerprints, Scanner};

fn main() {
    let only = std::env::args().nth(1);
    let secrets: [&[u8]; 3] = [
        b"sk-ant-oat01-qX7f_2LmV9bZtR4kK8pHs0Nc5Jy3Gd6Fa1QewT",
        b"ghq_u8R2mK5vX1cB7nQ4wE9zL3pT6yH0jD5sA1f",
        b"Tz5pWq8xNb2vKm7jHr4cLs9gYd3fAe6u",
    ];
    let scanner = Scanner::new(Fingerprints::of([42; 32], &secrets)).expect("the built-in rules are valid");
    for (name, bytes) in corpus::benign(SIZE).into_iter().chain(corpus::hostile(SIZE)) {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let mut best = Duration::MAX;
        let (mut finding, mut rounds) = (None, 0);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(if only.is_some() { 4000 } else { 700 }) {
            let round = Instant::now();
            finding = scanner.scan(&bytes);
            best = best.min(round.elapsed());
            rounds += 1;
        }
        let speed = bytes.len() as f64 / best.as_secs_f64() / 1e6;
        println!("{name:<16}{speed:>8.0} MB/s {rounds:>6} rounds  {:?}", finding.map(|f| (f.rule, f.encodings)));
    }
}

const SIZE: usize = 64 << 10;
