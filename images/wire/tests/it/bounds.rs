//! Deadlines and numbers of connections.

use bottle_wire::{Handled, Limits, Reason, Refused};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Answer, Lab, Setup, ask, read_answer, script, to_end};

fn hurried(limits: Limits) -> Setup {
    Setup { limits, ..Setup::default() }
}

// covers: H07
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_end_in_time_is_told_so() {
    let lab = Lab::start(hurried(Limits { head_ms: 300, ..Limits::default() }));
    let mut stream = lab.dial().await;
    stream.write_all(b"GET http://a.test/ HTTP/1.1\r\nHost: a").await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert_eq!((answer.status, answer.reason()), (408, Some("too_slow")));
    assert_eq!(lab.event(|event| event.event == "refused").reason, Some(Reason::TooSlow));
    // A connection that says nothing, and one that has said enough, just end.
    assert_eq!(to_end(&mut lab.dial().await).await, "");
    let mut kept = lab.dial().await;
    assert_eq!(ask(&mut kept, "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n").await.status, 200);
    assert_eq!(to_end(&mut kept).await, "");
    let mut h2 = lab.tls("a.test:443", Some("a.test"), &["h2"]).await.unwrap();
    h2.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    to_end(&mut h2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_end_in_time_ends_the_tunnel() {
    let lab = Lab::start(hurried(Limits { handshake_ms: 300, ..Limits::default() }));
    for half in [&b""[..], b"\x16", b"\x16\x03\x01\x02\0\x01"] {
        let mut stream = lab.connect("a.test:443").await.unwrap();
        stream.write_all(half).await.unwrap();
        to_end(&mut stream).await;
        assert_eq!(lab.event(|event| event.event == "refused").reason, Some(Reason::TooSlow));
    }
}

// covers: X08
#[tokio::test(flavor = "multi_thread")]
async fn a_surplus_connection_is_told_so_and_the_next_one_after_it_served() {
    // A POST is never answered, so that its connection is of use for as long as it lasts.
    let (asked, mut under_way) = tokio::sync::mpsc::unbounded_channel();
    let script = script(move |_, request| {
        let asked = asked.clone();
        async move {
            if request.method() == http::Method::POST {
                asked.send(()).unwrap();
                std::future::pending::<()>().await;
            }
            Ok(http::Response::new(bottle_wire::body::empty()))
        }
    });
    let lab = Lab::start(Setup { script, ..hurried(Limits { connections: 2, ..Limits::default() }) });
    let get = "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let post = "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
    let (mut first, mut second) = (lab.dial().await, lab.dial().await);
    for stream in [&mut first, &mut second] {
        stream.write_all(post.as_bytes()).await.unwrap();
        under_way.recv().await.unwrap();
    }
    let answer = read_answer(&mut lab.dial().await).await;
    assert_eq!((answer.status, answer.reason()), (429, Some("too_many")));
    drop(second);
    loop {
        // The connection's end is seen a moment later.
        let answer = ask(&mut lab.dial().await, get).await;
        if answer.status == 200 {
            break;
        }
        assert_eq!(answer.status, 429);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_is_asked_gives_way() {
    let lab = Lab::start(hurried(Limits { connections: 2, ..Limits::default() }));
    let get = "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut slow = lab.dial().await;
    slow.write_all(b"GET http://a.te").await.unwrap();
    let tunnel = lab.tls("a.test:443", Some("a.test"), &[]).await.unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let answer = ask(&mut lab.dial().await, get).await;
        if answer.status == 200 {
            break;
        }
        assert_eq!(answer.status, 429);
        assert!(tokio::time::Instant::now() < deadline, "nothing gives way");
    }
    // The one that was of no use for the longest was closed, without an answer.
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    drop(tunnel);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_that_the_connection_ends_if_the_body_was_not_read_and_only_then() {
    let script = script(|asked, request| async move {
        if asked.path == "/read" {
            let _ = request.into_body().collect().await;
        }
        Err::<Handled, _>(Refused::new(Reason::MethodNotAllowed, "not this"))
    });
    let lab = Lab::start(Setup { script, ..Setup::default() });
    let post = |path| format!("POST http://a.test{path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\n01234");
    let get = "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut stream = lab.dial().await;
    let closes = |answer: &Answer| answer.head.contains("\r\nconnection: close\r\n");
    let mut told = Vec::new();
    for asked in [get, &post("/read"), get, &post("/unread")] {
        let answer = ask(&mut stream, asked).await;
        told.push((answer.status, closes(&answer)));
    }
    assert_eq!(told, [(403, false), (403, false), (403, false), (403, true)]);
    assert_eq!(to_end(&mut stream).await, "");
}
