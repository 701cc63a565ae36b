//! Upgrades, tunnels and bodies that stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use bottle_wire::{Body, BodyError, Handled, Limits, Reason, Refused};
use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::support::{DEADLINE, Lab, Setup, ask, read_answer, script, to_end};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn upgrade(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

fn websocket() -> String {
    upgrade(&format!("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"))
}

fn switching(accept: &str) -> Response<()> {
    Response::builder()
        .status(101)
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-accept", accept)
        .body(())
        .unwrap()
}

// covers: H10
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_a_tunnel_after_a_verified_101() {
    let lab = Lab::start(Setup {
        script: script(|asked, request| async move {
            assert!(asked.websocket);
            assert_eq!(request.headers()["upgrade"], "websocket");
            let (ours, mut theirs) = tokio::io::duplex(1024);
            tokio::spawn(async move {
                let mut frame = [0; 5];
                theirs.read_exact(&mut frame).await.unwrap();
                theirs.write_all(&frame).await.unwrap();
            });
            Ok(Handled::Upgraded(switching(ACCEPT), Box::new(ours)))
        }),
        ..Setup::default()
    });
    let mut stream = lab.tls("a.test:443", Some("a.test"), &["http/1.1"]).await.unwrap();
    // The first frame right behind the request must not be lost either.
    let answer = ask(&mut stream, &format!("{}frame", websocket())).await;
    assert_eq!(answer.status, 101, "{answer:?}");
    assert!(answer.head.contains(&format!("sec-websocket-accept: {ACCEPT}")) && answer.head.contains("upgrade: websocket"), "{answer:?}");
    assert_eq!(to_end(&mut stream).await, "frame");
    drop(stream);
    let event = lab.event(|event| event.event == "request");
    assert_eq!((event.status, event.sent, event.received), (Some(101), Some(5), Some(5)));
}

// covers: H10
#[tokio::test(flavor = "multi_thread")]
async fn a_101_that_nobody_agreed_to_is_no_tunnel() {
    let lab = Lab::start(Setup {
        script: script(|asked, _| async move {
            let response = match asked.path.as_str() {
                "/fake" => switching("AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
                _ => switching(ACCEPT),
            };
            Ok(Handled::Upgraded(response, Box::new(tokio::io::duplex(64).0)))
        }),
        ..Setup::default()
    });
    for request in [websocket().replace("GET /", "GET /fake"), upgrade("")] {
        let mut stream = lab.tls("a.test:443", Some("a.test"), &[]).await.unwrap();
        let answer = ask(&mut stream, &request).await;
        assert_eq!((answer.status, answer.reason()), (502, Some("upstream_protocol")), "{request}");
    }
}

// covers: H10
#[tokio::test(flavor = "multi_thread")]
async fn after_an_upgrade_that_failed_nothing_more_is_read() {
    let lab = Lab::start(Setup::default());
    for (request, status) in [
        (websocket(), 200),
        (upgrade("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"), 403),
        (websocket().replace("Version: 13", "Version: 8"), 403),
        (websocket().replace("keep-alive, Upgrade", "keep-alive"), 403),
        (websocket().replace("GET", "POST"), 403),
        (websocket().replace("Sec-WebSocket-Version", "Content-Length: 1\r\nSec-WebSocket-Version"), 403),
    ] {
        let before = lab.forwarded().len();
        let mut stream = lab.tls("a.test:443", Some("a.test"), &[]).await.unwrap();
        let more = format!("{request}GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n");
        stream.write_all(more.as_bytes()).await.unwrap();
        let answer = to_end(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(status == 200 || answer.contains("upgrade_not_allowed"), "{answer}");
        assert_eq!(lab.forwarded().len() - before, usize::from(status == 200), "{request}");
    }
}

// covers: V21 V22
#[tokio::test(flavor = "multi_thread")]
async fn an_offer_to_upgrade_that_nobody_takes_changes_nothing() {
    let lab = Lab::start(Setup::default());
    let mut stream = lab.tls("a.test:443", Some("a.test"), &[]).await.unwrap();
    for offer in [
        "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: custom/1, h2c\r\n",
        "Upgrade: h2c\r\n",
    ] {
        let request = upgrade(&format!("{offer}Content-Length: 5\r\n")).replace("GET", "POST");
        let answer = ask(&mut stream, &format!("{request}hello")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "POST https://a.test/"), "{offer}");
        let forwarded = lab.forwarded().pop().unwrap();
        assert_eq!((forwarded.fields, &forwarded.body[..]), (vec!["content-length: 5".into(), "host: a.test".into()], &b"hello"[..]));
    }
}

// covers: H11
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_tls_ends_where_the_tunnel_begins() {
    let lab = Lab::start(Setup::default());
    for bytes in [
        &b"POST /upload HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nsecret"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x80\x2e\x01\0\x02",
        b"\x16\x02\x01\0\x02",
        b"\0\0\0\0\0\0\0\0",
    ] {
        let mut stream = lab.connect("a.test:443").await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let answer = to_end(&mut stream).await;
        assert!(
            answer.starts_with("HTTP/1.1 403 bottle: opaque_tunnel\r\nx-bottle-reason: opaque_tunnel\r\n"),
            "{}: {answer}",
            bytes.escape_ascii()
        );
        let event = lab.event(|event| event.event == "refused");
        assert_eq!((event.reason, event.origin.as_deref()), (Some(Reason::OpaqueTunnel), Some("https://a.test")));
    }
    // TLS inside TLS is just bytes that are no request.
    let mut stream = lab.tls("a.test:443", Some("a.test"), &[]).await.unwrap();
    stream.write_all(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\n").await.unwrap();
    assert!(to_end(&mut stream).await.starts_with("HTTP/1.1 400 "));
    assert_eq!(lab.forwarded(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_policy_names_gets_an_opaque_tunnel() {
    let lab = Lab::start(Setup::default());
    let mut stream = lab.connect("tunnel.test:22").await.unwrap();
    stream.write_all(b"SSH-2").await.unwrap();
    assert_eq!(to_end(&mut stream).await, "SSH-2");
    drop(stream);
    let event = lab.event(|event| event.event == "tunnel");
    assert_eq!((event.origin.as_deref(), event.sent, event.received), (Some("https://tunnel.test:22"), Some(5), Some(5)));
    let answer = lab.connect("tunnel.test:23").await.unwrap_err();
    assert_eq!((answer.status, answer.reason()), (403, Some("opaque_tunnel")));
}

type Frames = Result<Frame<Bytes>, BodyError>;

struct Channel(mpsc::Receiver<Frames>);

impl http_body::Body for Channel {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frames>> {
        self.0.poll_recv(cx)
    }
}

fn streamed() -> (mpsc::Sender<Frames>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Channel(receiver).boxed())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_is_delivered_event_by_event() {
    let (sender, body) = streamed();
    let body = std::sync::Mutex::new(Some(body));
    let lab = Lab::start(Setup {
        script: script(move |_, _| {
            let body = body.lock().unwrap().take().unwrap();
            async move { Ok(Response::builder().header("content-type", "text/event-stream").body(body).unwrap()) }
        }),
        ..Setup::default()
    });
    let mut stream = lab.dial().await;
    let answer = ask(&mut stream, "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(answer.head.contains("transfer-encoding: chunked"), "{answer:?}");
    for n in 0..3 {
        // The next event is sent only after the last one has arrived.
        sender.send(Ok(Frame::data(Bytes::from(format!("data: {n}\n\n"))))).await.unwrap();
        let mut event = [0; 14];
        tokio::time::timeout(DEADLINE, stream.read_exact(&mut event)).await.expect("the event is held back").unwrap();
        assert_eq!(event, *format!("9\r\ndata: {n}\n\n\r\n").as_bytes());
    }
    drop(sender);
    let mut end = [0; 5];
    stream.read_exact(&mut end).await.unwrap();
    assert_eq!(&end, b"0\r\n\r\n");
}

// covers: N19
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_stands_still_is_ended() {
    let limits = Limits { idle_ms: 200, ..Limits::default() };
    let (sender, body) = streamed();
    let body = std::sync::Mutex::new(Some(body));
    let lab = Lab::start(Setup {
        limits,
        script: script(move |asked, request| {
            let body = body.lock().unwrap().take();
            async move {
                match asked.path.as_str() {
                    "/never" => std::future::pending().await,
                    "/upload" => match request.into_body().collect().await {
                        Ok(_) => Ok(Response::new(bottle_wire::body::empty())),
                        Err(_) => Err(Refused::new(Reason::TooSlow, "body")),
                    },
                    _ => Ok(Response::new(body.unwrap())),
                }
            }
        }),
        ..Setup::default()
    });
    let mut stream = lab.dial().await;
    stream.write_all(b"GET http://a.test/half HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    sender.send(Ok(Frame::data(Bytes::from_static(b"x")))).await.unwrap();
    let answer = to_end(&mut stream).await;
    assert!(answer.ends_with("1\r\nx\r\n"), "cut, not completed: {answer:?}");
    assert_eq!(lab.event(|event| event.path.as_deref() == Some("/half")).reason, Some(Reason::TooSlow));
    let mut stream = lab.dial().await;
    let answer = ask(&mut stream, "GET http://a.test/never HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!((answer.status, answer.reason()), (504, Some("too_slow")));
    let mut stream = lab.dial().await;
    let answer = ask(&mut stream, "POST http://a.test/upload HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nabc").await;
    assert_eq!((answer.status, answer.reason()), (504, Some("too_slow")));
    drop(sender);
}

// covers: H26
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_body_does_not_shift_the_next() {
    let lab = Lab::start(Setup {
        script: script(|asked, _| async move {
            let status: u16 = asked.path[1..].parse().unwrap();
            let response = Response::builder().status(status).header("etag", "x");
            let response = if status == 200 { response.header("content-length", "5") } else { response };
            Ok(response.body(if status == 200 { bottle_wire::body::full("hello") } else { bottle_wire::body::empty() }).unwrap())
        }),
        ..Setup::default()
    });
    let mut stream = lab.dial().await;
    for (method, status) in
        [("GET", 204), ("GET", 304), ("HEAD", 200), ("GET", 206), ("GET", 205), ("GET", 200), ("HEAD", 200), ("GET", 204)]
    {
        let request = format!("{method} http://a.test/{status} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "{}", head.escape_ascii());
        if (method, status) == ("GET", 200) {
            let mut body = [0; 5];
            stream.read_exact(&mut body).await.unwrap();
            assert_eq!(&body, b"hello");
        }
    }
    let informational = ask(&mut lab.dial().await, "GET http://a.test/103 HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!((informational.status, informational.reason()), (502, Some("upstream_protocol")));
}

// covers: H16
#[tokio::test(flavor = "multi_thread")]
async fn an_endless_body_is_cut_and_the_refusal_is_heard() {
    let lab = Lab::start(Setup { limits: Limits { body_bytes: 1 << 20, ..Limits::default() }, ..Setup::default() });
    let mut stream = lab.dial().await;
    stream.write_all(b"POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let chunk = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
    let flood = async {
        // Writes until the proxy has had enough.
        for _ in 0..128 {
            if writer.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    let (_, answer) = tokio::join!(flood, read_answer(&mut reader));
    assert_eq!((answer.status, answer.reason()), (413, Some("too_large")));
    assert_eq!(lab.forwarded(), []);
}
