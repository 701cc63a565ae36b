//! HTTP as an intermediary must treat it (RFC 9110, 9112 and 9113), on the way from a sibling to an origin of either version.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::support::origin::{Shown, certificate, text};
use crate::support::sibling::{Body, full, once, raw};
use crate::support::{DEADLINE, Origin, Pipelock, SECRET, Sibling, config_for, told};

/// A body without a known length, with these trailers behind it.
fn streamed<E: Send + Sync + 'static>(data: &'static str, trailers: HeaderMap) -> http_body_util::combinators::BoxBody<Bytes, E> {
    let frames = [Ok(Frame::data(Bytes::from_static(data.as_bytes()))), Ok(Frame::trailers(trailers))];
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)))
}

fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::try_from(*value).unwrap())).collect()
}

/// A request as `egress` writes it whose body may bring trailers.
fn with_trailers(trailers: HeaderMap) -> Request<Body> {
    let request = Request::post("https://a.test/x").header("te", "trailers").header("x-bottle-takes-trailers", "1");
    let request = request.header("trailer", "x-sum").header("trailer", "x-bottle-trailers");
    request.body(streamed("hello", bottle_wire::trailers::pack(&trailers))).unwrap()
}

/// Answers with what came, and trailers.
async fn with_sum(request: Request<hyper::body::Incoming>) -> crate::support::origin::Answer {
    let te = request.headers().get("te").map_or("none", |te| te.to_str().unwrap()).to_owned();
    let collected = request.into_body().collect().await.unwrap();
    let sum = collected.trailers().and_then(|trailers| trailers.get("x-sum")).cloned().unwrap_or(HeaderValue::from_static("none"));
    let mut trailers = fields(&[("grpc-status", "0"), ("grpc-message", "fine"), ("host", "b.test")]);
    trailers.insert("x-came", sum);
    trailers.insert("x-te", te.try_into().unwrap());
    Response::builder().header("trailer", "grpc-status, grpc-message, x-came, x-te").body(streamed("answer", trailers)).unwrap()
}

// covers: V09 V10
#[tokio::test]
async fn trailers_pass_both_ways_whatever_the_origin_speaks() {
    for h2 in [false, true] {
        let origin = Origin::start(h2, with_sum).await;
        let pipelock = Pipelock::start(config_for("a.test", &origin));
        let mut sibling = Sibling::dial(&pipelock).await;
        for _ in 0..2 {
            let answer = sibling.send(with_trailers(fields(&[("x-sum", "5"), ("authorization", "no")]))).await;
            let collected = timeout(DEADLINE, answer.into_body().collect()).await.unwrap().unwrap();
            let trailers = bottle_wire::trailers::unpack(collected.trailers().expect("trailers"));
            let expected = fields(&[("grpc-status", "0"), ("grpc-message", "fine"), ("x-came", "5"), ("x-te", "trailers")]);
            assert_eq!((trailers, collected.to_bytes()), (expected, Bytes::from_static(b"answer")), "h2: {h2}");
        }
        let refused = sibling.exchange(with_trailers(fields(&[("x-sum", SECRET)]))).await;
        let (status, refusal) = refused.refusal();
        assert_eq!((status, refusal.reason.slug()), (422, "secret_detected"), "h2: {h2}");
    }
}

/// An origin over TLS that sends these bytes behind each request and then hangs up, with a `close_notify` or without.
async fn sloppy(answer: &'static [u8], says_so: bool) -> Origin {
    let (tls, authority) = certificate(&Shown::default(), &[b"http/1.1"]);
    let serve = move |stream: tokio::net::TcpStream| {
        let tls = TlsAcceptor::from(tls.clone());
        async move {
            let Ok(mut stream) = tls.accept(stream).await else { return };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            stream.write_all(answer).await.unwrap();
            stream.flush().await.unwrap();
            if says_so {
                let _ = stream.shutdown().await;
            } else {
                let _ = stream.into_inner().0.shutdown().await;
            }
        }
    };
    let origin = Origin::raw(serve).await;
    std::fs::write(&origin.authority, authority).unwrap();
    origin
}

async fn ask(origin: &Origin) -> (Pipelock, String) {
    let pipelock = Pipelock::start(config_for("a.test", origin));
    let answer = raw(&pipelock, b"GET https://a.test/ HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n").await;
    (pipelock, answer)
}

// covers: V23
#[tokio::test]
async fn an_answer_that_only_ends_with_its_connection_is_whole_and_noted() {
    let origin = sloppy(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok until close\n", false).await;
    let (pipelock, answer) = ask(&origin).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("ok until close\n") && answer.ends_with("0\r\n\r\n"), "{answer}");
    let event = pipelock.event().await;
    assert_eq!(told(&event), ("request", Some(200), None, None));
    assert!(event.message.as_deref().is_some_and(|message| message.contains("may not be whole")), "{event:?}");
    let origin = sloppy(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok until close\n", true).await;
    let (pipelock, answer) = ask(&origin).await;
    assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
    assert_eq!(pipelock.event().await.message, None);
    // Where the length is known, what is missing is missing.
    for cut in [&b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"[..], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"]
    {
        let origin = sloppy(cut, false).await;
        let (pipelock, answer) = ask(&origin).await;
        assert!(!answer.ends_with("0\r\n\r\n") && !answer.ends_with("ok       "), "{answer}");
        let event = pipelock.event().await;
        assert!(event.message.is_some(), "{event:?}");
    }
}

// covers: V31 A09
#[tokio::test]
async fn what_an_origin_writes_carelessly_is_repaired_and_never_where_it_frames_the_answer() {
    for (answer, expected) in [
        (&b"HTTP/1.1 200 OK\r\nX-Cache : HIT\r\nContent-Length: 3\r\n\r\nok\n"[..], Ok("x-cache: HIT\r\n")),
        (b"HTTP/1.1 200 OK\r\nX-Long: a\r\n  b\r\nContent-Length: 3\r\n\r\nok\n", Ok("x-long: a")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 03\r\n\r\nok\n", Ok("content-length: 3\r\n")),
        (b"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nok\n", Err(())),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n3\r\nok\n\r\n0\r\n\r\n", Err(())),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nok\n\r\n0\r\n\r\n", Err(())),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok\n", Err(())),
    ] {
        let origin = sloppy(answer, true).await;
        let (_pipelock, got) = ask(&origin).await;
        match expected {
            Ok(field) => assert!(got.starts_with("HTTP/1.1 200 ") && got.contains(field) && got.ends_with("ok\n"), "{got}"),
            Err(()) => assert!(got.starts_with("HTTP/1.1 502 ") && !got.contains("ok\n"), "{}: {got}", answer.escape_ascii()),
        }
    }
}

// covers: V24
#[tokio::test]
async fn hundreds_of_fields_pass_and_the_limit_is_named() {
    for h2 in [false, true] {
        let origin = Origin::start(h2, |request: Request<hyper::body::Incoming>| async move {
            let count: usize = request.uri().path()[1..].parse().unwrap();
            let mut answer = Response::new(text("fine"));
            for number in 0..count {
                answer.headers_mut().insert(http::HeaderName::try_from(format!("x-h-{number}")).unwrap(), HeaderValue::from_static("v"));
            }
            answer
        })
        .await;
        let pipelock = Pipelock::start(config_for("a.test", &origin));
        for count in [99, 150] {
            // The test's own client reads a hundred fields; what counts is what comes on the wire.
            let head = format!("GET https://a.test/{count} HTTP/1.1\r\nhost: a.test\r\nx-bottle-http-2: 1\r\nconnection: close\r\n\r\n");
            let answer = raw(&pipelock, head.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.matches("x-h-").count() == count, "h2: {h2}, {count}: {answer}");
        }
        let head = "GET https://a.test/1500 HTTP/1.1\r\nhost: a.test\r\nx-bottle-http-2: 1\r\nconnection: close\r\n\r\n";
        let answer = raw(&pipelock, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("more than 65536 bytes or 1000 fields"), "h2: {h2}: {answer}");
        // A request's fields have a limit of their own, which is named as well.
        let many = |count| (0..count).map(|number| format!("x-h-{number}: v\r\n")).collect::<String>();
        let ask = |count| format!("GET https://a.test/1 HTTP/1.1\r\nhost: a.test\r\n{}connection: close\r\n\r\n", many(count));
        assert!(raw(&pipelock, ask(300).as_bytes()).await.starts_with("HTTP/1.1 200 "));
        let answer = raw(&pipelock, ask(600).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 ") && answer.contains("500 fields"), "{answer}");
    }
}

// covers: A08 A18 A21 V38
#[tokio::test]
async fn a_request_arrives_with_its_body_and_in_its_order() {
    for h2 in [false, true] {
        let origin = Origin::start(h2, |request: Request<hyper::body::Incoming>| async move {
            let names: Vec<_> = request.headers().keys().map(|name| name.as_str().to_owned()).collect();
            let length = request.headers().get("content-length").map_or("none", |length| length.to_str().unwrap()).to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Response::new(text(format!("{}|{length}|{}", names.join(","), String::from_utf8_lossy(&body))))
        })
        .await;
        let pipelock = Pipelock::start(config_for("a.test", &origin));
        let ask = async |head: &str, body: &str| {
            let head = format!("{head} HTTP/1.1\r\nhost: a.test\r\nx-bottle-http-2: 1\r\nconnection: keep-alive, close\r\n");
            let answer = raw(&pipelock, format!("{head}{body}").as_bytes()).await;
            answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned()
        };
        let order = ask("GET https://a.test/", "x-a: 1\r\nkeep-alive: 5\r\nx-b: 2\r\nx-bottle-request-id: 1-1\r\nx-c: 3\r\n\r\n").await;
        assert!(order.contains("x-a,x-b,x-c"), "h2: {h2}: {order}");
        let search = ask("GET https://a.test/_search", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").await;
        assert!(search.ends_with("|hello"), "h2: {h2}: {search}");
        let nothing = ask("POST https://a.test/", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n").await;
        assert!(nothing.contains("|0|"), "h2: {h2}: {nothing}");
        let octal = ask("POST https://a.test/", "content-length: 005\r\n\r\nhello").await;
        assert!(octal.contains("|5|hello"), "h2: {h2}: {octal}");
        let chunks = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
        let put = Request::put("https://a.test/b/k").header("content-encoding", "aws-chunked");
        assert_eq!(once(&pipelock, put.body(full(chunks)).unwrap()).await.told().0, 200, "h2: {h2}");
        let (one, two) = SECRET.split_at(15);
        let chunks = format!("{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
        let put = Request::put("https://a.test/b/k").header("content-encoding", "aws-chunked");
        let (status, refusal) = once(&pipelock, put.body(full(chunks)).unwrap()).await.refusal();
        assert_eq!((status, refusal.reason.slug()), (422, "secret_detected"), "h2: {h2}");
        let odd = Request::post("https://a.test/").header("content-encoding", "amz-1.0").body(full("{\"a\":1}")).unwrap();
        assert_eq!(once(&pipelock, odd).await.told().0, 200, "h2: {h2}");
    }
}
