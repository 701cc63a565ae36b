//! The load generator against the far end, directly and through the relay.

use std::path::Path;
use std::process::Command;

use bottle_test_support::origin::Origin;
use serde_json::Value;

fn load(origin: &Origin, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_bottle-load")).arg("--ca").arg(&origin.ready().ca).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn origin(arguments: &[&str]) -> Origin {
    Origin::spawn(Path::new(env!("CARGO_BIN_EXE_bottle-origin")), arguments).unwrap()
}

#[test]
fn connections_are_kept_or_made_anew_as_asked() {
    let origin = origin(&[]);
    let relay = origin.ready().relay.to_string();
    for (flags, connections) in [(&["--connections", "2"][..], 2), (&["--connections", "2", "--fresh"], 10)] {
        let before = (origin.requests().len(), origin.connections().iter().filter(|connection| connection.listener == "https").count());
        let result = load(&origin, &[&["--proxy", &relay, "--requests", "10", "https://bench.test/1k"], flags].concat());
        assert_eq!((&result["requests"], &result["errors"]), (&10.into(), &0.into()), "{result}");
        let after = (origin.requests().len(), origin.connections().iter().filter(|connection| connection.listener == "https").count());
        assert_eq!((after.0 - before.0, after.1 - before.1), (10, connections));
    }
    let dialled = origin.connections().into_iter().filter(|connection| connection.listener == "relay");
    assert!(dialled.map(|connection| connection.name).all(|name| name.as_deref() == Some("bench.test:443")));
}

#[test]
fn bodies_arrive_whole_both_ways() {
    let origin = origin(&[]);
    let direct = origin.ready().https.to_string();
    let common = ["--connect", &direct, "--requests", "1"];
    let up = load(&origin, &[&common[..], &["--method", "POST", "--body-bytes", "1000000", "https://bench.test/sink"]].concat());
    let down = load(&origin, &[&common[..], &["https://bench.test/bytes/1000000"]].concat());
    assert_eq!([&up["errors"], &down["errors"]], [0, 0]);
    assert_eq!(origin.requests()[0].body_len, 1_000_000);
    let bytes = down["megabytes_per_second"].as_f64().unwrap() * down["seconds"].as_f64().unwrap();
    assert!((bytes - 1.0).abs() < 0.01, "{down}");
}

#[test]
fn an_answer_that_is_not_a_success_is_an_error() {
    let origin = origin(&["--bench"]);
    let http = format!("http://{}/status/403", origin.ready().http);
    let result = load(&origin, &["--requests", "3", &http]);
    assert_eq!(result["error_kinds"], serde_json::json!({"status 403": 3}));
    assert_eq!(origin.requests(), []);
}
