//! Origins that stand still at every stage: a deadline for each.

use std::time::{Duration, Instant};

use bottle_contract::pipelock::PipelockConfig;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::support::sibling::{empty, get, once};
use crate::support::{DEADLINE, Origin, Pipelock, Sibling, config_for, told};

fn impatient(host: &str, origin: &Origin) -> PipelockConfig {
    let mut config = config_for(host, origin);
    config.x_bottle.limits.handshake_ms = 300;
    config.x_bottle.limits.idle_ms = 400;
    config
}

// covers: N19
#[tokio::test]
async fn a_handshake_that_stalls_ends_at_its_deadline() {
    let origin = Origin::raw(|mut stream| async move {
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
    })
    .await;
    let pipelock = Pipelock::start(impatient("a.test", &origin));
    let start = Instant::now();
    let (status, refusal) = once(&pipelock, get("https://a.test/").body(empty()).unwrap()).await.refusal();
    assert_eq!((status, refusal.reason.slug()), (504, "too_slow"));
    assert!(start.elapsed() < Duration::from_secs(5));
}

// covers: N19
#[tokio::test]
async fn an_answer_that_never_starts_ends_at_its_deadline() {
    let origin = Origin::start(false, |_| std::future::pending()).await;
    let pipelock = Pipelock::start(impatient("a.test", &origin));
    let (status, refusal) = once(&pipelock, get("https://a.test/").body(empty()).unwrap()).await.refusal();
    assert_eq!((status, refusal.reason.slug()), (504, "too_slow"));
}

/// A plain HTTP origin that sends a head and one byte, then one byte each `every`.
async fn dripping(every: Duration) -> Origin {
    Origin::raw(move |mut stream| async move {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await;
        for _ in 0..10 {
            if stream.write_all(b"x").await.is_err() {
                return;
            }
            tokio::time::sleep(every).await;
        }
    })
    .await
}

// covers: N19
#[tokio::test]
async fn a_body_that_stalls_breaks_off_and_one_that_drips_does_not() {
    let origin = dripping(Duration::from_secs(3600)).await;
    let pipelock = Pipelock::start(impatient("a.test", &origin));
    let mut body = Sibling::dial(&pipelock).await.send(get("http://a.test/").body(empty()).unwrap()).await.into_body();
    let end = timeout(DEADLINE, async {
        while let Some(frame) = body.frame().await {
            if frame.is_err() {
                return false;
            }
        }
        true
    });
    assert!(!end.await.expect("an end in time"), "the body must not seem whole");
    assert_eq!(told(&pipelock.event().await), ("refused", Some(200), Some("too_slow"), Some("upstream")));

    let origin = dripping(Duration::from_millis(100)).await;
    let pipelock = Pipelock::start(impatient("a.test", &origin));
    let answer = once(&pipelock, get("http://a.test/").body(empty()).unwrap()).await;
    assert_eq!(answer.told(), (200, "xxxxxxxxxx"));
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_the_origins_fault() {
    for answer in [
        "SSH-2.0-x\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ] {
        let origin = Origin::raw(move |mut stream| async move {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.read(&mut buffer).await;
        })
        .await;
        let pipelock = Pipelock::start(impatient("a.test", &origin));
        let (status, refusal) = once(&pipelock, get("http://a.test/").body(empty()).unwrap()).await.refusal();
        assert_eq!((status, refusal.reason.slug()), (502, "upstream_protocol"), "{answer:?}: {}", refusal.message);
    }
}
