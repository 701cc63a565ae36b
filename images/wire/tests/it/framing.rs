//! Messages with more than one reading, byte by byte.

use crate::support::{DEADLINE, Lab, Setup, ask, to_end};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Ways to say where a body ends, by which proxies and origins have been made to disagree; none may pass.
const LENGTHS: [&str; 28] = [
    "Content-Length: 6\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 6",
    "Transfer-Encoding: chunked\r\nContent-Length: 0",
    "Content-Length: 0\r\nContent-Length: 6",
    "Content-Length: 6\r\nContent-Length: 6",
    "Content-Length: 6, 6",
    "Content-Length: +6",
    "Content-Length: 6\u{0}",
    "Content-Length: 0x6",
    "Content-Length: 6;q=1",
    "Content-Length: \"6\"",
    "Content-Length:\u{b}6",
    "Content-Length : 6",
    "Content-Length\t: 6",
    " Content-Length: 6",
    "X: y\r\n Content-Length: 6",
    "X: y\nContent-Length: 6",
    "X: y\rContent-Length: 6",
    "Content-Length: 99999999999999999999",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding: chunked\r\nTransfer-encoding: identity",
    "Transfer\u{0}Encoding: chunked",
    "Transfer_Encoding: chunked",
];

// covers: H04
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_end_can_be_read_in_two_ways_reaches_nobody() {
    let lab = Lab::start(Setup::default());
    let mut refused = 0;
    for fields in LENGTHS {
        for version in ["1.1", "1.0"] {
            for inside in [false, true] {
                let target = if inside { "/" } else { "http://a.test/" };
                let smuggled = format!("0\r\n\r\nGET {target}smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n");
                let message = format!("POST {target} HTTP/{version}\r\nHost: a.test\r\n{fields}\r\n\r\n{smuggled}");
                let answer = if inside {
                    let mut stream = lab.tls("a.test:443", Some("a.test"), &[]).await.unwrap();
                    stream.write_all(message.as_bytes()).await.unwrap();
                    to_end(&mut stream).await
                } else {
                    lab.raw(message.as_bytes()).await
                };
                assert!(answer.starts_with("HTTP/1.1 400 "), "{message:?}: {answer}");
                assert!(answer.contains("x-bottle-reason: malformed_request\r\n") && answer.contains("connection: close\r\n"), "{answer}");
                assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, LENGTHS.len() * 4);
    assert_eq!(lab.forwarded().len(), 0, "{:#?}", lab.forwarded());
}

// covers: H04
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_chunk_never_completes_a_request() {
    let lab = Lab::start(Setup::default());
    for body in [
        "5\r\nhello\r\n0\r\n\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
    ] {
        let answer =
            lab.raw(format!("POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{body}").as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer}");
    }
    assert_eq!(lab.forwarded(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_in_a_row_are_told_apart_however_they_arrive() {
    let lab = Lab::start(Setup::default());
    let messages = "POST http://a.test/1 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello\
                    POST http://a.test/2 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nauthorization: x\r\n\r\n\
                    GET http://a.test/3 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    for step in [1, 7, 64, messages.len()] {
        let before = lab.forwarded().len();
        let mut stream = lab.dial().await;
        for part in messages.as_bytes().chunks(step) {
            stream.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        let answer = to_end(&mut stream).await;
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{step}: {answer}");
        let forwarded = lab.forwarded().split_off(before);
        let seen: Vec<_> = forwarded.iter().map(|f| (f.line.as_str(), &f.body[..])).collect();
        assert_eq!(seen, [("POST http://a.test/1", &b"hello"[..]), ("POST http://a.test/2", b"abcde"), ("GET http://a.test/3", b"")]);
        assert!(!format!("{forwarded:?}").contains("authorization"), "trailers are dropped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_message_behind_a_good_one_does_not_disturb_its_answer() {
    let lab = Lab::start(Setup::default());
    let answer = lab.raw(b"GET http://a.test/1 HTTP/1.1\r\nHost: a.test\r\n\r\nGET http://a.test/2 HTTP/1.1\r\nHost : a.test\r\n\r\nGET http://a.test/3 HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let statuses: Vec<_> = answer.split("HTTP/1.1 ").skip(1).map(|a| &a[..3]).collect();
    assert_eq!(statuses, ["200", "400"]);
    assert_eq!(lab.forwarded().len(), 1);
}

// covers: H07 H13
#[tokio::test(flavor = "multi_thread")]
async fn a_request_line_or_head_out_of_bounds_is_told_why() {
    let lab = Lab::start(Setup::default());
    let long = format!("GET http://a.test/{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "x".repeat(64 * 1024));
    let many = format!("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n{}\r\n", "X: y\r\n".repeat(1000));
    let large = format!("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nX: {}\r\n\r\n", "y".repeat(1 << 20));
    let with_method = |method: &str| format!("{method} http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n");
    for (message, status, reason) in [
        (long, 431, "too_large"),
        (many, 431, "too_large"),
        (large, 431, "too_large"),
        ("GET http://a.test/\r\n\r\n".into(), 400, "malformed_request"),
        ("GET http://a.test/ HTTP/1.2\r\nHost: a.test\r\n\r\n".into(), 400, "malformed_request"),
        ("GET http://a.test/ HTTP/3.0\r\nHost: a.test\r\n\r\n".into(), 400, "malformed_request"),
        ("\r\nGET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(), 400, "malformed_request"),
        ("\u{16}\u{3}\u{1}\u{2}\n".into(), 400, "malformed_request"),
        (with_method("get"), 400, "malformed_request"),
        (with_method("G\u{0}ET"), 400, "malformed_request"),
        (with_method("!"), 400, "malformed_request"),
        (with_method("TRACE"), 400, "malformed_request"),
        (with_method("TRACK"), 400, "malformed_request"),
        (with_method("PRI"), 400, "malformed_request"),
        (with_method("PATCH"), 200, ""),
        (with_method("M-SEARCH"), 200, ""),
        ("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n".into(), 400, "malformed_request"),
        ("GET http://a.test/ HTTP/1.1\r\n\r\n".into(), 400, "malformed_request"),
        ("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nX y: z\r\n\r\n".into(), 400, "malformed_request"),
        ("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nX: \u{1}\r\n\r\n".into(), 400, "malformed_request"),
        ("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nExpect: magic\r\n\r\n".into(), 400, "malformed_request"),
    ] {
        let mut stream = lab.dial().await;
        let (mut reader, mut writer) = stream.split();
        let (written, answer) = tokio::join!(writer.write_all(message.as_bytes()), crate::support::read_answer(&mut reader));
        let _ = written;
        let shown = &message[..message.len().min(60)];
        assert_eq!((answer.status, answer.reason().unwrap_or_default()), (status, reason), "{shown:?}");
    }
}

// covers: H13
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_end_to_end_goes_no_further() {
    let lab = Lab::start(Setup::default());
    let mut stream = lab.dial().await;
    let fields = "Proxy-Connection: keep-alive\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\nTE: trailers\r\n\
                  Keep-Alive: 5\r\nProxy-Authorization: Basic x\r\nForwarded: host=b.test\r\nX-Bottle-Injected: x\r\nAccept: */*\r\n";
    let answer = ask(&mut stream, &format!("GET http://a.test/ HTTP/1.1\r\nHost: A.test:80\r\n{fields}\r\n")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(lab.forwarded()[0].fields, ["accept: */*", "host: a.test", "te: trailers"]);
    let event = lab.event(|event| event.event == "request");
    assert_eq!(event.message.as_deref(), Some("taken out, for they would replace the host: forwarded"));
}

// covers: H16
#[tokio::test(flavor = "multi_thread")]
async fn a_body_waits_for_100_continue_and_a_refused_one_is_never_asked_for() {
    let lab = Lab::start(Setup::default());
    let mut stream = lab.dial().await;
    let head =
        |length: u64| format!("POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head(5).as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut interim)).await.unwrap().unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(ask(&mut stream, "hello").await.status, 200);
    let mut stream = lab.dial().await;
    let answer = ask(&mut stream, &head(1 << 40)).await;
    assert_eq!((answer.status, answer.reason()), (413, Some("too_large")));
}
