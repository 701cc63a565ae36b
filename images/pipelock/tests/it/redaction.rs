//! Secrets in conversations with a model: redacted where the policy says so, and the session goes on.

use std::time::Duration;

use bottle_contract::pipelock::{OnSecretAt, PipelockConfig};
use bottle_contract::route::{OnSecret, PathRule};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::support::origin::{Answer, text};
use crate::support::sibling::{Body, Read, full, get, once};
use crate::support::{DEADLINE, Origin, Pipelock, SECRET, Sibling, config_for, told};

/// Of no vendor's: only its shape is that of a key.
const TOKEN: &str = "AKIAQ7XW2MVB5ZT4RK6L";
const PLACEHOLDER: &str = "[bottle-redacted***]";

/// Sends back what it got, with its length as the head told it.
async fn echoed(request: Request<hyper::body::Incoming>) -> Answer {
    let told = request.headers().get("content-length").map_or("none".into(), |length| length.to_str().unwrap().to_owned());
    match request.into_body().collect().await {
        Ok(body) => {
            Response::builder().header("told-length", told).header("x-bottle-redacted", "forged").body(text(body.to_bytes())).unwrap()
        }
        Err(_) => Response::builder().status(500).body(text("broken off")).unwrap(),
    }
}

fn config(origin: &Origin) -> PipelockConfig {
    let mut config = config_for("a.test", origin);
    let paths = vec![PathRule::Exact("/v1/messages".into())];
    config.x_bottle.on_secret = vec![OnSecretAt { host: "a.test".parse().unwrap(), action: OnSecret::Redact, paths }];
    config
}

fn post(path: &str, body: impl Into<Bytes>) -> Request<Body> {
    Request::post(format!("https://a.test{path}")).header("content-type", "application/json").body(full(body)).unwrap()
}

fn conversation(content: &str) -> String {
    serde_json::json!({"model": "m", "messages": [{"role": "user", "content": "hi"}, {"role": "user", "content": content}]}).to_string()
}

fn redacted_header(read: &Read) -> Option<&str> {
    read.head.headers.get("x-bottle-redacted").map(|count| count.to_str().unwrap())
}

// covers: V04
#[tokio::test]
async fn a_secret_in_a_conversation_is_replaced_noted_and_counted() {
    for h2 in [false, true] {
        let origin = Origin::start(h2, echoed).await;
        let pipelock = Pipelock::start(config(&origin));
        let sent = conversation(&format!("keys: {TOKEN} and {SECRET}."));
        let read = once(&pipelock, post("/v1/messages", sent.clone())).await;
        let own = format!("[bottle-redacted{}]", "*".repeat(SECRET.len() - 17));
        let expected = sent.replace(TOKEN, PLACEHOLDER).replace(SECRET, &own);
        assert_eq!(read.told(), (200, &expected[..]), "h2: {h2}");
        let told_length = read.head.headers["told-length"].to_str().unwrap();
        assert_eq!((redacted_header(&read), told_length), (Some("2"), &sent.len().to_string()[..]));
        let mut rules = Vec::new();
        for _ in 0..2 {
            let event = pipelock.event().await;
            assert_eq!(told(&event), ("redacted", None, None, Some("body.messages[1].content")));
            rules.push((event.rule.clone().unwrap(), event.masked.clone().unwrap()));
            let line = serde_json::to_string(&event).unwrap();
            assert!(!line.contains(TOKEN) && !line.contains(SECRET), "{line}");
        }
        rules.sort();
        let masked = |rule: &str, masked: &str| (rule.to_owned(), masked.to_owned());
        assert_eq!(rules, [masked("aws-access-key-id", "AKIA… (20 bytes)"), masked("bottle-secret", "… (38 bytes)")]);
        let event = pipelock.event().await;
        assert_eq!((told(&event), event.redacted), (("request", Some(200), None, None), Some(2)));
    }
}

// covers: V04
#[tokio::test]
async fn without_a_secret_nothing_is_added_and_elsewhere_it_is_refused_by_its_field() {
    let origin = Origin::start(false, echoed).await;
    let pipelock = Pipelock::start(config(&origin));
    let read = once(&pipelock, post("/v1/messages", conversation("nothing"))).await;
    assert_eq!((read.head.status.as_u16(), redacted_header(&read)), (200, None));
    assert_eq!(pipelock.event().await.redacted, None);

    let read = once(&pipelock, post("/v1/files", conversation(TOKEN))).await;
    let (status, refusal) = read.refusal();
    assert_eq!((status, refusal.reason.slug()), (422, "secret_detected"));
    assert!(refusal.message.contains("body.messages[1].content contains something that looks like a credential"), "{}", refusal.message);
    let event = pipelock.event().await;
    assert_eq!(told(&event), ("refused", Some(422), Some("secret_detected"), Some("body.messages[1].content")));
    assert_eq!((event.masked.as_deref(), event.digest.map(|digest| digest.len())), (Some("AKIA… (20 bytes)"), Some(64)));
    assert_eq!(origin.count(), 1);
}

// covers: V04
#[tokio::test]
async fn what_must_not_or_cannot_be_changed_is_refused() {
    let origin = Origin::start(false, echoed).await;
    let pipelock = Pipelock::start(config(&origin));
    let body = conversation(TOKEN);
    for (name, value) in [
        ("content-digest", "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"),
        ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
        ("repr-digest", "sha-256=:x:"),
        ("digest", "SHA-256=x"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("authorization", "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=0"),
    ] {
        let mut request = post("/v1/messages", body.clone());
        request.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(once(&pipelock, request).await.refusal().1.reason.slug(), "secret_detected", "{name}");
    }
    let trailers = [(http::HeaderName::from_static("content-digest"), http::HeaderValue::from_static("x"))].into_iter().collect();
    let frames = [Ok::<_, std::io::Error>(Frame::data(Bytes::from(body.clone()))), Ok(Frame::trailers(trailers))];
    let request = post("/v1/messages", "").map(|_| BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames))));
    // A sibling packs trailers, so that a plain client's are not seen here: what counts is that nothing was changed under a digest.
    let read = once(&pipelock, request).await;
    assert!(read.head.status == 422 || redacted_header(&read) == Some("1"), "{read:?}");

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, body.as_bytes()).unwrap();
    let mut request = post("/v1/messages", encoder.finish().unwrap());
    request.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(once(&pipelock, request).await.refusal().1.reason.slug(), "secret_detected", "gzip");

    for (name, request) in [
        ("a key", post("/v1/messages", format!("{{\"{TOKEN}\":1}}"))),
        ("no JSON", post("/v1/messages", format!("key={TOKEN}"))),
        ("the query", get(&format!("https://a.test/v1/messages?key={TOKEN}")).body(full("")).unwrap()),
        ("a field", Request::post("https://a.test/v1/messages").header("x-note", TOKEN).body(full("{}")).unwrap()),
    ] {
        assert_eq!(once(&pipelock, request).await.refusal().1.reason.slug(), "secret_detected", "{name}");
    }
}

/// A body in chunks without a told length.
fn chunked(body: &[u8], size: usize) -> Body {
    let frames: Vec<_> = body.chunks(size).map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk)))).collect();
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)))
}

// covers: V04 D06
#[tokio::test]
async fn a_secret_is_replaced_in_bodies_of_any_length_and_framing() {
    for h2 in [false, true] {
        let origin = Origin::start(h2, echoed).await;
        let pipelock = Pipelock::start(config(&origin));
        for before in [0, 40_000, (1 << 20) - 60, (1 << 20) + 70_000, 5 << 20] {
            let sent = conversation(&format!("{}{TOKEN}{}", "a b c d ".repeat(before / 8), " e f g h".repeat(9000)));
            let expected = sent.replace(TOKEN, PLACEHOLDER);
            for size in [0, 1021, 200_000] {
                let mut request = post("/v1/messages", sent.clone());
                if size > 0 {
                    request = request.map(|_| chunked(sent.as_bytes(), size));
                }
                let read = once(&pipelock, request).await;
                assert_eq!(read.head.status, 200, "h2: {h2}, {before} before, chunks of {size}: {:?}", pipelock.event().await);
                assert!(read.body == expected.as_bytes(), "h2: {h2}, {before} before, chunks of {size}");
                let length = read.head.headers["told-length"].to_str().unwrap();
                // Of a body that was read whole, the length is known.
                assert!(length == sent.len().to_string() || size > 0 && length == "none", "h2: {h2}, {before} before: {length}");
            }
        }
    }
}

// covers: V04 A01
#[tokio::test]
async fn a_secret_that_arrives_byte_by_byte_is_replaced_whole() {
    let origin = Origin::start(false, echoed).await;
    let pipelock = Pipelock::start(config(&origin));
    let sent = format!(r#"["{TOKEN}\n"]"#);
    let mut stream = UnixStream::connect(&pipelock.socket).await.unwrap();
    let head = "POST https://a.test/v1/messages HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for byte in sent.bytes() {
        // The pace is the attack: longer than what a relay may wait for more before it sends on what it has.
        tokio::time::sleep(Duration::from_millis(150)).await;
        stream.write_all(&[b"1\r\n", &[byte][..], b"\r\n"].concat()).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("an answer in time").unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&sent.replace(TOKEN, PLACEHOLDER)), "{answer}");
    assert!(!answer.contains(TOKEN) && answer.contains("x-bottle-redacted: 1\r\n"), "{answer}");
}

// covers: V04 D06
#[tokio::test]
async fn a_large_conversation_that_cannot_be_redacted_is_never_completed() {
    let origin = Origin::start(false, echoed).await;
    let pipelock = Pipelock::start(config(&origin));
    let hidden: String = TOKEN.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
    let sent = format!("[\"{}\",\"{hidden}\"]", "a b c d ".repeat((3 << 20) / 8));
    let answer = Sibling::dial(&pipelock).await.send(post("/v1/messages", "").map(|_| chunked(sent.as_bytes(), 16_384))).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["x-bottle-reason"].to_str().unwrap()), (422, "secret_detected"));
    let event = pipelock.event().await;
    assert_eq!((&event.event[..], event.status, event.rule.as_deref()), ("refused", Some(422), Some("aws-access-key-id")));
}

// covers: V04 D04
#[tokio::test]
async fn a_small_redacted_body_completes_nothing_with_those_before_it() {
    let origin = Origin::start(false, echoed).await;
    let pipelock = Pipelock::start(config(&origin));
    for _ in 0..3 {
        let read = once(&pipelock, post("/v1/messages", format!("[\"{TOKEN}\"]"))).await;
        assert_eq!(read.told(), (200, &format!("[\"{PLACEHOLDER}\"]")[..]));
    }
    let (head, tail) = SECRET.split_at(19);
    assert_eq!(once(&pipelock, post("/v1/messages", format!("[\"{head}\"]"))).await.head.status, 200);
    assert_eq!(once(&pipelock, post("/v1/messages", format!("[\"{tail}\"]"))).await.refusal().1.reason.slug(), "secret_detected");
}
