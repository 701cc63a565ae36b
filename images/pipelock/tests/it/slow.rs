//! A network that is slow and has small packets, made in a network namespace of the test's own.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use http_body_util::BodyExt;

use crate::support::origin::text;
use crate::support::sibling::{Sibling, full};
use crate::support::{Origin, Pipelock, config_for};

// covers: N22
#[test]
fn over_a_slow_link_of_small_packets_requests_are_slow_and_right() {
    // An ordinary user's PATH has no place for the tools of an administrator.
    let script = "PATH=$PATH:/usr/sbin:/sbin; ip link set lo up mtu 576 && tc qdisc add dev lo root tbf rate 4mbit burst 8kb latency 2s && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "sh", "-c", script, "sh"]).arg(std::env::current_exe().unwrap());
    let output = command.args(["--exact", "slow::inside_the_slow_network", "--ignored", "--nocapture"]).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by another test, in a network of its own"]
async fn inside_the_slow_network() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let origin = Origin::start(false, move |request: Request<hyper::body::Incoming>| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { Response::new(text(request.into_body().collect().await.unwrap().to_bytes())) }
    })
    .await;
    let pipelock = Pipelock::start(config_for("a.test", &origin));
    let body: Vec<u8> = (0..200_000u32).map(|i| b"0123456789 lorem ipsum dolor sit"[(i * 7 % 32) as usize]).collect();
    let started = std::time::Instant::now();
    for _ in 0..2 {
        let answer = Sibling::dial(&pipelock).await.exchange(Request::post("https://a.test/").body(full(body.clone())).unwrap()).await;
        assert_eq!((answer.head.status.as_u16(), answer.body == body), (200, true));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2, "no request was sent twice");
    // Twice 200 kB each way at 500 kB/s: the network was as slow as it was made.
    assert!(started.elapsed().as_millis() > 800, "{:?}", started.elapsed());
}
