//! Requests that a kept connection loses.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::sibling::{Body, empty, full, get, once};
use crate::support::{Origin, Pipelock, config_for};

/// A plain origin whose first `closing` connections answer `answers` requests each and close when they have read one
/// more; the later ones answer all. What it has read is kept as request lines.
async fn closing(closing: usize, answers: usize) -> (Origin, Arc<Mutex<Vec<String>>>) {
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let (log, connections) = (lines.clone(), AtomicUsize::new(0));
    let origin = Origin::raw(move |mut stream| {
        let most = if connections.fetch_add(1, Ordering::SeqCst) < closing { answers } else { usize::MAX };
        let log = log.clone();
        async move {
            let mut answered = 0;
            let mut head = Vec::new();
            while let Ok(byte) = stream.read_u8().await {
                head.push(byte);
                if !head.ends_with(b"\r\n\r\n") {
                    continue;
                }
                let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
                log.lock().unwrap().push(text.lines().next().unwrap().to_owned());
                if answered == most {
                    return;
                }
                answered += 1;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            }
        }
    })
    .await;
    (origin, lines)
}

fn post(body: Body) -> Request<Body> {
    Request::post("http://a.test/two").body(body).unwrap()
}

#[tokio::test]
async fn a_get_that_a_kept_connection_lost_is_answered_and_the_event_says_that_it_was_sent_again() {
    let (origin, lines) = closing(1, 1).await;
    let pipelock = Pipelock::start(config_for("a.test", &origin));
    assert_eq!(once(&pipelock, get("http://a.test/one").body(empty()).unwrap()).await.told(), (200, "ok"));
    assert_eq!(pipelock.event().await.message, None);
    assert_eq!(once(&pipelock, get("http://a.test/two?x=y").body(empty()).unwrap()).await.told(), (200, "ok"));
    assert_eq!(*lines.lock().unwrap(), ["GET /one HTTP/1.1", "GET /two?x=y HTTP/1.1", "GET /two?x=y HTTP/1.1"]);
    assert_eq!(origin.connections(), 2);
    let event = pipelock.event().await;
    assert_eq!(event.message.as_deref(), Some("sent again: a kept connection was closed without an answer"));
    assert_eq!(event.status, Some(200));
}

#[tokio::test]
async fn what_an_origin_would_do_twice_is_not_sent_again() {
    for body in [empty(), full("x")] {
        let (origin, lines) = closing(1, 1).await;
        let pipelock = Pipelock::start(config_for("a.test", &origin));
        assert_eq!(once(&pipelock, get("http://a.test/one").body(empty()).unwrap()).await.told(), (200, "ok"));
        let (status, refusal) = once(&pipelock, post(body)).await.refusal();
        assert_eq!((status, refusal.reason.slug()), (502, "upstream_unreachable"));
        assert_eq!(*lines.lock().unwrap(), ["GET /one HTTP/1.1", "POST /two HTTP/1.1"]);
    }
}

#[tokio::test]
async fn an_origin_that_closes_a_new_connection_unanswered_is_asked_once() {
    let (origin, lines) = closing(usize::MAX, 0).await;
    let pipelock = Pipelock::start(config_for("a.test", &origin));
    let (status, refusal) = once(&pipelock, get("http://a.test/").body(empty()).unwrap()).await.refusal();
    assert_eq!((status, refusal.reason.slug()), (502, "upstream_unreachable"));
    assert_eq!(*lines.lock().unwrap(), ["GET / HTTP/1.1"]);
}
