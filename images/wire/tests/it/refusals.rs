//! Refusals reach the client, whatever it speaks, and each of them is one event that repeats no secret.

use std::future::poll_fn;

use bottle_contract::event::Event;
use bottle_wire::{Limits, Reason};
use bytes::Bytes;
use http::Request;
use tokio::io::AsyncWriteExt;

use crate::support::{DEADLINE, Lab, Setup, ask, to_end};

const SECRET: &str = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";

/// What happened, until an event that the test makes at the end.
async fn events(lab: &Lab) -> Vec<Event> {
    assert!(lab.raw(b"GET http://last.test/ HTTP/1.1\r\nHost: last.test\r\nConnection: close\r\n\r\n").await.contains(" 200 "));
    let mut events = Vec::new();
    lab.event(|event| {
        events.push(event.clone());
        event.origin.as_deref() == Some("http://last.test")
    });
    events.pop();
    events
}

fn refusal(event: &Event) -> (&str, Option<&str>, Option<&str>, Option<Reason>, Option<u16>) {
    (&event.event, event.method.as_deref(), event.origin.as_deref(), event.reason, event.status)
}

// covers: W21
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_host_answers_inside_its_own_tls() {
    let lab = Lab::start(Setup::default());
    let mut stream = lab.tls("denied.test:443", Some("denied.test"), &["http/1.1"]).await.unwrap();
    let answer = ask(&mut stream, "GET /v1/x HTTP/1.1\r\nHost: denied.test\r\n\r\n").await;
    assert_eq!((answer.status, answer.reason()), (403, Some("host_not_listed")));
    assert!(answer.head.starts_with("HTTP/1.1 403 bottle: host_not_listed\r\n"), "{}", answer.head);
    let page: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let sentence = format!("bottle refused this request: no route names denied.test; {}", Reason::HostNotListed.hint());
    assert_eq!((page["reason"].as_str(), page["message"].as_str()), (Some("host_not_listed"), Some(sentence.as_str())));

    let stream = lab.tls("denied.test:443", Some("denied.test"), &["h2"]).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let (answer, _) = client.send_request(Request::post("https://denied.test/v1/x").body(()).unwrap(), true).unwrap();
    let answer = tokio::time::timeout(DEADLINE, answer).await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["x-bottle-reason"].to_str().unwrap()), (403, "host_not_listed"));

    let told: Vec<_> = events(&lab).await;
    let row = |method| ("refused", Some(method), Some("https://denied.test"), Some(Reason::HostNotListed), Some(403));
    assert_eq!(told.iter().map(refusal).collect::<Vec<_>>(), [row("GET"), row("POST")]);
    assert_eq!((lab.forwarded().len(), lab.authority.cached()), (1, 1), "one leaf, in the cache whose size is bounded");
}

// covers: W21
#[tokio::test(flavor = "multi_thread")]
async fn every_target_that_is_refused_on_443_answers_there_and_on_no_other_port() {
    let lab = Lab::start(Setup::default());
    for (host, reason) in [("denied.test", "host_not_listed"), ("localhost", "self_request"), ("pipelock", "self_request")] {
        let mut stream = lab.tls(&format!("{host}:443"), Some(host), &[]).await.unwrap();
        let answer = ask(&mut stream, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!((answer.status, answer.reason()), (403, Some(reason)), "{host}");
        let answer = lab.connect(&format!("{host}:8443")).await.err();
        let Some(answer) = answer else { continue };
        assert!(answer.head.starts_with(&format!("HTTP/1.1 403 bottle: {reason}\r\n")), "{}", answer.head);
    }
    // What is wrong with the head or the server name does not hide why the host is refused.
    let mut stream = lab.tls("denied.test:443", Some("other.test"), &[]).await.unwrap();
    assert_eq!(ask(&mut stream, "get / HTTP/1.1\r\nHost: a b\r\n\r\n").await.reason(), Some("host_not_listed"));
}

// covers: W21 V39
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_tunnel_without_a_request_is_one_event() {
    let limits = Limits { handshake_ms: 500, head_ms: 500, ..Limits::default() };
    let lab = Lab::start(Setup { limits, ..Setup::default() });
    // What is not TLS.
    let mut stream = lab.connect("denied.test:443").await.unwrap();
    stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await.unwrap();
    let answer = to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 403 bottle: host_not_listed\r\n"), "{answer}");
    // Nothing at all.
    drop(lab.connect("denied.test:443").await.unwrap());
    // A client that waits for the other side to speak first.
    let mut stream = lab.connect("denied.test:443").await.unwrap();
    assert_eq!(to_end(&mut stream).await, "");
    // TLS, and no request in it.
    let stream = lab.tls("denied.test:443", Some("denied.test"), &[]).await.unwrap();
    drop(stream);
    for _ in 0..4 {
        let event = lab.event(|event| event.event != "request");
        let row = ("refused", Some("CONNECT"), Some("https://denied.test"), Some(Reason::HostNotListed), Some(403));
        assert_eq!(refusal(&event), row);
    }
    assert_eq!(events(&lab).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_still_sending_over_http2_reads_its_refusal() {
    let lab = Lab::start(Setup::default());
    let stream = lab.tls("denied.test:443", Some("denied.test"), &["h2"]).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let (answer, mut body) = client.send_request(Request::post("https://denied.test/").body(()).unwrap(), false).unwrap();
    let mut answer = tokio::time::timeout(DEADLINE, answer).await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["x-bottle-reason"]), (403, &"host_not_listed".parse().unwrap()));
    while let Some(page) = answer.body_mut().data().await {
        page.unwrap();
    }
    // More than a window holds: the rest is read, and nobody resets the stream…
    let outcome = send(&mut body, 768 << 10).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    // …up to a bound, beyond which the reset names no error (RFC 9113, section 8.1).
    let outcome = tokio::time::timeout(DEADLINE, send(&mut body, 64 << 20)).await.unwrap();
    assert_eq!(outcome.unwrap_err().reason(), Some(h2::Reason::NO_ERROR));
}

/// Sends so many bytes as the peer makes room for them.
async fn send(body: &mut h2::SendStream<Bytes>, bytes: usize) -> Result<(), h2::Error> {
    let mut left = bytes;
    while left > 0 {
        body.reserve_capacity(left.min(64 << 10));
        let room = poll_fn(|cx| body.poll_capacity(cx)).await.transpose()?;
        let Some(room) = room else { return Err(poll_fn(|cx| body.poll_reset(cx)).await?.into()) };
        body.send_data(vec![b'x'; room].into(), false)?;
        left = left.saturating_sub(room);
    }
    Ok(())
}

// covers: A11
#[tokio::test(flavor = "multi_thread")]
async fn no_event_repeats_what_was_never_scanned() {
    let lab = Lab::start(Setup::default());
    let lower = SECRET.to_lowercase().replace('_', "-");
    for (head, at) in [
        (format!("GET http://denied.test/{SECRET} HTTP/1.1\r\nHost: denied.test\r\n\r\n"), "a path to an unlisted host"),
        (format!("GET http://{lower}.denied.test/ HTTP/1.1\r\nHost: x\r\n\r\n"), "a host"),
        (format!("GET http://a.test/../{SECRET} HTTP/1.1\r\nHost: a.test\r\n\r\n"), "a path with two readings"),
        (format!("{} http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", SECRET.to_uppercase().replace('_', "-")), "a method"),
        (format!("GET http://a.test/ HTTP/1.1\r\nHost: {lower}.test\r\n\r\n"), "a Host field"),
        (format!("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\n{SECRET}: 1\r\n\r\n"), "a name"),
    ] {
        let answer = lab.raw(head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{at}: {answer}");
    }
    let mut stream = lab.tls("a.test:443", Some(&format!("{lower}.test")), &[]).await.unwrap();
    assert_eq!(ask(&mut stream, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.status, 421);
    let mut stream = lab.tls("denied.test:443", Some("denied.test"), &[]).await.unwrap();
    let answer = ask(&mut stream, &format!("GET /{SECRET} HTTP/1.1\r\nHost: denied.test\r\n\r\n")).await;
    assert_eq!(answer.status, 403);
    let told = events(&lab).await;
    assert_eq!(told.len(), 8, "{told:#?}");
    for event in told {
        let text = serde_json::to_string(&event).unwrap().to_lowercase().replace('_', "-");
        assert!(event.reason.is_some() && !text.contains(&lower[..20]), "{text}");
    }
}
