//! WebSockets: scanned on the way out, as they are on the way back.

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::support::origin::{Answer, text};
use crate::support::{DEADLINE, Origin, Pipelock, SECRET, config_for, told};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Agrees to the WebSocket and echoes bytes as they come.
async fn echoing(mut request: Request<hyper::body::Incoming>) -> Answer {
    assert!(!request.headers().contains_key("sec-websocket-extensions"));
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..count]).await.unwrap();
        }
    });
    http::Response::builder()
        .status(101)
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-accept", ACCEPT)
        .body(text(""))
        .unwrap()
}

async fn handshake(pipelock: &Pipelock) -> (UnixStream, String) {
    let mut stream = UnixStream::connect(&pipelock.socket).await.unwrap();
    let request = format!(
        "GET https://a.test/chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(DEADLINE, stream.read_u8()).await.expect("a head in time").unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

/// A whole masked text message of less than 126 bytes.
fn message(text: &str) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![0x81, 0x80 | text.len() as u8];
    frame.extend(mask);
    frame.extend(text.bytes().enumerate().map(|(i, b)| b ^ mask[i % 4]));
    frame
}

// covers: D01 D11
#[tokio::test]
async fn messages_pass_until_one_holds_a_secret() {
    for h2 in [false, true] {
        let origin = Origin::start(h2, echoing).await;
        let pipelock = Pipelock::start(config_for("a.test", &origin));
        let (mut stream, head) = handshake(&pipelock).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        for _ in 0..3 {
            let sent = message("hello");
            stream.write_all(&sent).await.unwrap();
            let mut echoed = vec![0; sent.len()];
            timeout(DEADLINE, stream.read_exact(&mut echoed)).await.expect("an echo in time").unwrap();
            assert_eq!(echoed, sent);
        }
        stream.write_all(&message(&format!("my key is {SECRET}"))).await.unwrap();
        let mut rest = Vec::new();
        let _ = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("an end in time");
        assert_eq!(rest, b"");
        let event = pipelock.event().await;
        assert_eq!(told(&event), ("refused", None, Some("secret_detected"), Some("websocket@10")));
        assert!(!serde_json::to_string(&event).unwrap().contains(SECRET));
    }
}

#[tokio::test]
async fn an_origin_that_does_not_agree_gets_no_tunnel() {
    let origin = Origin::start(false, |request| async {
        let mut answer = echoing(request).await;
        answer.headers_mut().insert("sec-websocket-accept", http::HeaderValue::from_static("AAAA"));
        answer
    })
    .await;
    let pipelock = Pipelock::start(config_for("a.test", &origin));
    let (_, head) = handshake(&pipelock).await;
    assert!(head.starts_with("HTTP/1.1 502") && head.contains("x-bottle-reason: upstream_protocol"), "{head}");

    let origin = Origin::start(false, |_| async { http::Response::new(text("not a socket")) }).await;
    let pipelock = Pipelock::start(config_for("a.test", &origin));
    let (_, head) = handshake(&pipelock).await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("connection: close"), "{head}");
}

#[tokio::test]
async fn a_websocket_ends_with_the_entry_that_allowed_it() {
    let origin = Origin::start(false, echoing).await;
    let mut config = config_for("a.test", &origin);
    let pipelock = Pipelock::start(config.clone());
    let (mut stream, head) = handshake(&pipelock).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    // One that allows it, too, changes nothing.
    config.x_bottle.generation = 2;
    pipelock.replace(&config).await;
    let sent = message("hello");
    stream.write_all(&sent).await.unwrap();
    let mut echoed = vec![0; sent.len()];
    timeout(DEADLINE, stream.read_exact(&mut echoed)).await.expect("an echo in time").unwrap();
    config.x_bottle.generation = 3;
    config.api_allowlist = vec!["b.test".parse().unwrap()];
    pipelock.replace(&config).await;
    let mut rest = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("an end in time");
    assert_eq!(rest, b"");
    let event = pipelock.event().await;
    assert_eq!((event.status, event.message.as_deref()), (Some(101), Some("the route that allowed it has ended")));
}
