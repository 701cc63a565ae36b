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
    println!("clock           {:>8.2} GHz at best", clock());
    for (name, bytes) in corpus::benign(64 << 10).into_iter().chain(corpus::hostile(64 << 10)) {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let mut best = Duration::MAX;
        let start = Instant::now();
        let (mut finding, mut rounds) = (None, 0);
        while start.elapsed() < Duration::from_millis(if only.is_some() { 4000 } else { 700 }) {
            let round = Instant::now();
            finding = scanner.scan(&bytes);
            rounds += 1;
            best = best.min(round.elapsed());
        }
        let speed = bytes.len() as f64 / best.as_secs_f64() / 1e6;
        println!("{name:<16}{speed:>8.0} MB/s  {rounds:>6} rounds  {:?}", finding.map(|f| (f.rule, f.encodings)));
    }
}

/// The clock that this process sees: a chain of multiplications takes four cycles with the exclusive or, each on every x86-64 of this decade.
fn clock() -> f64 {
    const LINKS: u32 = 100_000;
    let mut best = Duration::MAX;
    for round in 0..200u64 {
        let start = Instant::now();
        let mut x = round | 1;
        for _ in 0..LINKS {
            x = x.wrapping_mul(x) ^ u64::from(LINKS);
        }
        best = best.min(start.elapsed());
        std::hint::black_box(x);
    }
    f64::from(LINKS) * 4.0 / best.as_secs_f64() / 1e9
}
