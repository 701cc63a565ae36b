//! Throughput of one core on four kinds of harmless content, and on the worst of hostile ones.

#[path = "../tests/support/corpus.rs"]
mod corpus;

use bottle_scan::{Fingerprints, NOT_SCANNABLE, Scanner};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// A bottle with the usual three tokens.
fn scanner() -> Scanner {
    let secrets: [&[u8]; 3] = [
        b"sk-ant-oat01-qX7f_2LmV9bZtR4kK8pHs0Nc5Jy3Gd6Fa1QewT",
        b"ghq_u8R2mK5vX1cB7nQ4wE9zL3pT6yH0jD5sA1f",
        b"Tz5pWq8xNb2vKm7jHr4cLs9gYd3fAe6u",
    ];
    Scanner::new(Fingerprints::of([42; 32], &secrets)).expect("the built-in rules are valid")
}

fn throughput(c: &mut Criterion) {
    let scanner = scanner();
    for (name, bytes) in corpus::benign(4 << 20).into_iter().chain(corpus::hostile(4 << 20)) {
        let finding = scanner.scan(&bytes).map(|finding| (finding.rule, finding.encodings));
        assert!(finding.as_ref().is_none_or(|(rule, _)| rule == NOT_SCANNABLE), "{name}: {finding:?}");
        let mut group = c.benchmark_group("scan");
        group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(10);
        group.measurement_time(std::time::Duration::from_secs(2)).warm_up_time(std::time::Duration::from_millis(500));
        group.bench_with_input(BenchmarkId::from_parameter(name), &bytes, |b, bytes| b.iter(|| scanner.scan(bytes)));
    }
    let message = &corpus::benign(100 << 10)[0].1;
    let mut group = c.benchmark_group("message");
    group.bench_function("100 KB of JSON", |b| b.iter(|| scanner.scan(message)));
    let turn =
        r#"{"role": "user", "content": "Rename the field `colour` of struct Paint to `color`, and run the tests again afterwards. "}"#;
    let conversation = format!(r#"{{"model": "m", "messages": [{}]}}"#, vec![turn; 100_000 / turn.len()].join(", "));
    for (name, message) in [("JSON", message.as_slice()), ("a conversation", conversation.as_bytes())] {
        group.bench_function(format!("100 KB of {name}, and what it says"), |b| {
            b.iter(|| {
                let mut scan = scanner.message(Some("application/json"));
                scan.push(message).or_else(|| scan.finish())
            });
        });
    }
    group.bench_function("200 bytes of JSON", |b| b.iter(|| scanner.scan(&message[..200])));
}

criterion_group!(benches, throughput);
criterion_main!(benches);
