//! Secrets on their way out: refused, recorded, and in no record themselves.

use std::io::Write;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::support::origin::text;
use crate::support::sibling::{Body, empty, full, get, once, raw};
use crate::support::{Origin, Pipelock, SECRET, Sibling, config_for, told};

async fn drained(request: Request<hyper::body::Incoming>) -> crate::support::origin::Answer {
    // An upload that breaks off is what some of these tests are about.
    let _ = request.into_body().collect().await;
    Response::new(text("fine"))
}

fn with(uri: &str, name: &str, value: &str) -> Request<Body> {
    get(uri).header(name, value).body(empty()).unwrap()
}

fn post(content_type: &str, body: String) -> Request<Body> {
    Request::post("https://a.test/x").header("content-type", content_type).body(full(body)).unwrap()
}

// covers: D01 S05
#[tokio::test]
async fn a_secret_is_refused_wherever_it_stands_and_is_in_no_event() {
    let origin = Origin::start(false, drained).await;
    let pipelock = Pipelock::start(config_for("*.test", &origin));
    let s = SECRET;
    let plain = "https://a.test/x";
    let multipart = |disposition: &str, value: &str| {
        post("multipart/form-data; boundary=b", format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{value}\r\n--b--\r\n"))
    };
    for (place, request) in [
        ("path", get(&format!("https://a.test/x/{s}")).body(empty()).unwrap()),
        ("query", get(&format!("https://a.test/x?token={s}")).body(empty()).unwrap()),
        ("host", get(&format!("https://{s}.a.test/x")).body(empty()).unwrap()),
        ("host", get(&format!("https://{}.{}.a.test/x", &s[..18], &s[18..])).body(empty()).unwrap()),
        ("header:user-agent", with(plain, "user-agent", s)),
        ("header:cookie", with(plain, "cookie", &format!("a=b; c={s}"))),
        ("header:authorization", with(plain, "authorization", &format!("Bearer {s}"))),
        ("header:referer", with(plain, "referer", &format!("https://x/?a={s}"))),
        ("body.ke", post("application/json", format!(r#"{{"ke":"{s}"}}"#))),
        ("body@2", post("application/json", format!(r#"{{"{s}":1}}"#))),
        ("body@4", post("application/x-www-form-urlencoded", format!("a=b{}{s}", "&"))),
        ("body@", multipart("name=\"f\"", s)),
        ("body@", multipart(&format!("name=\"f\"; filename=\"{s}\""), "x")),
        ("body@", post("text/xml", format!("<a b='{s}'/>"))),
        ("body:json values", post("application/json", format!(r#"{{"a":["{}","{}"]}}"#, &s[..18], &s[18..]))),
        ("body:json keys", post("text/plain", format!(r#"{{"{}":1,"{}":2}}"#, &s[..18], &s[18..]))),
        ("body:form values", post("application/x-www-form-urlencoded", format!("a={}&b={}", &s[..18], &s[18..]))),
        ("body:multipart parameters", multipart(&format!("filename*0=\"{}\"; filename*1=\"{}\"", &s[..18], &s[18..]), "x")),
        ("body:xml text", post("text/xml", format!("<a>{}<b>{}</b></a>", &s[..18], &s[18..]))),
    ] {
        let (status, refusal) = once(&pipelock, request).await.refusal();
        assert_eq!((status, refusal.reason.slug()), (422, "secret_detected"), "{place}");
        assert!(refusal.message.starts_with("bottle refused to send this: "), "{}", refusal.message);
        let event = pipelock.event().await;
        assert_eq!((&event.event[..], event.rule.as_deref()), ("refused", Some("bottle-secret")), "{place}");
        assert!(event.place.as_deref().unwrap().starts_with(place.trim_end_matches(char::is_numeric)), "{place}: {event:?}");
        assert!(!serde_json::to_string(&event).unwrap().contains(s), "{place}: {event:?}");
    }
    assert_eq!(origin.count(), 0);
}

// covers: D04
#[tokio::test]
async fn a_secret_in_pieces_over_requests_is_not_completed() {
    let origin = Origin::start(false, drained).await;
    let pipelock = Pipelock::start(config_for("*.test", &origin));
    let pieces: Vec<&str> = SECRET.as_bytes().chunks(7).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
    let ways: [fn(&str) -> Request<Body>; 3] = [
        |piece| get(&format!("https://a.test/p?q={piece}&page=1")).body(empty()).unwrap(),
        |piece| get(&format!("https://h{}.lab.test/b/{piece}", piece.len() * 7)).body(empty()).unwrap(),
        |piece| post("application/json", format!(r#"{{"id":7,"text":"{piece}"}}"#)),
    ];
    for way in ways {
        for (number, piece) in pieces.iter().enumerate() {
            let read = once(&pipelock, way(piece)).await;
            let expected = if number + 1 == pieces.len() { 422 } else { 200 };
            assert_eq!(read.head.status.as_u16(), expected, "piece {number}: {read:?}");
        }
    }
    assert_eq!(origin.count(), ways.len() * (pieces.len() - 1));
}

// covers: D08
#[tokio::test]
async fn no_disagreement_of_parsers_hides_a_secret() {
    let origin = Origin::start(false, drained).await;
    let pipelock = Pipelock::start(config_for("a.test", &origin));
    let s = SECRET;
    for (what, types, body) in [
        ("a key twice", &["application/json"][..], format!(r#"{{"a":"x","a":"{s}"}}"#).into_bytes()),
        ("a comment", &["application/json"], format!("{{/* {s} */}}").into_bytes()),
        ("a byte order mark", &["application/json"], format!("\u{feff}\"{s}\"").into_bytes()),
        ("no UTF-8", &["application/json"], [&b"\xff\xfe{\""[..], s.as_bytes(), b"\"\xc0"].concat()),
        ("multipart without a boundary", &["multipart/form-data"], format!("--b\r\n\r\n{s}\r\n--b--").into_bytes()),
        ("behind the last boundary", &["multipart/form-data; boundary=b"], format!("--b\r\n\r\nx\r\n--b--\r\n{s}").into_bytes()),
        ("two types", &["image/png", "application/json"], format!("\"{s}\"").into_bytes()),
        ("an image", &["image/png"], [b"\x89PNG\r\n\x1a\n\0\0", s.as_bytes()].concat()),
    ] {
        let mut request = Request::post("https://a.test/x");
        for content_type in types {
            request = request.header("content-type", *content_type);
        }
        let answer = once(&pipelock, request.body(full(body)).unwrap()).await;
        assert_eq!(answer.refusal().1.reason.slug(), "secret_detected", "{what}");
    }
    assert_eq!(origin.count(), 0);
}

// covers: Y07
#[tokio::test]
async fn a_conversation_with_a_model_passes() {
    let origin = Origin::start(false, drained).await;
    let pipelock = Pipelock::start(config_for("a.test", &origin));
    let words = "abandon ability able about above absent absorb abstract absurd abuse access accident";
    let code = "let digest = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"; // sha256 of nothing\n\
                API_KEY = os.environ['API_KEY']\npassword: ${DB_PASSWORD}\ncommit 821da38d2c1f0b9a7e6d5c4b3a29181706f5e4d3\n\
                AKIAIOSFODNN7EXAMPLE uuid 6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    let message = |role: &str, content: &str| serde_json::json!({"role": role, "content": content});
    let body = serde_json::json!({
        "model": "m", "max_tokens": 4096, "stream": true,
        "system": "You are a coding agent. Never print tokens, passwords or API keys.",
        "messages": [message("user", words), message("assistant", code), message("user", &code.repeat(20))],
    });
    let request = Request::post("https://a.test/v1/messages").header("content-type", "application/json");
    let answer = once(&pipelock, request.body(full(body.to_string())).unwrap()).await;
    assert_eq!(answer.told(), (200, "fine"), "{:?}", pipelock.event().await);
}

// covers: Y06
#[tokio::test]
async fn the_injected_credential_passes_in_its_header_and_is_refused_anywhere_else() {
    let origin = Origin::start(false, drained).await;
    let pipelock = Pipelock::start(config_for("a.test", &origin));
    let bearer = format!("Bearer {SECRET}");
    let injected = |request: http::request::Builder| request.header("x-bottle-injected", "authorization").header("authorization", &bearer);
    assert_eq!(once(&pipelock, injected(get("https://a.test/")).body(empty()).unwrap()).await.told(), (200, "fine"));
    assert_eq!(origin.requests.lock().unwrap()[0].headers["authorization"], bearer);
    for request in [
        injected(get("https://a.test/")).header("x-copy", SECRET).body(empty()).unwrap(),
        injected(Request::post("https://a.test/")).body(full(SECRET)).unwrap(),
        get("https://a.test/").header("x-bottle-injected", "x-other").header("authorization", &bearer).body(empty()).unwrap(),
    ] {
        assert_eq!(once(&pipelock, request).await.refusal().1.reason.slug(), "secret_detected");
    }
    let twice = injected(get("https://a.test/")).header("authorization", "Bearer agents-own").body(empty()).unwrap();
    assert_eq!(once(&pipelock, twice).await.refusal().1.reason.slug(), "malformed_request");
    assert_eq!(origin.count(), 1);
}

/// A body in chunks of 16 KiB without a told length, with the secret at `at`.
fn streamed(length: usize, at: usize) -> Body {
    let mut body: Vec<u8> = b"lorem ipsum dolor sit amet ".iter().copied().cycle().take(length).collect();
    body[at..at + SECRET.len()].copy_from_slice(SECRET.as_bytes());
    let frames: Vec<_> = body.chunks(16_384).map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk)))).collect();
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)))
}

// covers: D06
#[tokio::test]
async fn an_upload_that_turns_out_to_hold_a_secret_is_never_completed() {
    for h2 in [false, true] {
        let (sender, mut ends) = tokio::sync::mpsc::unbounded_channel();
        let origin = Origin::start(h2, move |request| {
            let sender = sender.clone();
            async move {
                let mut body = request.into_body();
                let mut seen = Vec::new();
                let completed = loop {
                    match body.frame().await {
                        Some(Ok(frame)) => seen.extend_from_slice(frame.data_ref().unwrap()),
                        Some(Err(_)) => break false,
                        None => break true,
                    }
                };
                sender.send((completed, seen)).unwrap();
                Response::new(text("fine"))
            }
        })
        .await;
        let pipelock = Pipelock::start(config_for("a.test", &origin));
        let at = (8 << 20) + 1;
        let request = Request::post("https://a.test/x").body(streamed(9 << 20, at)).unwrap();
        let answer = Sibling::dial(&pipelock).await.send(request).await;
        assert_eq!((answer.status().as_u16(), answer.headers()["x-bottle-reason"].to_str().unwrap()), (422, "secret_detected"));
        let (completed, seen) = ends.recv().await.unwrap();
        assert!(!completed && seen.len() <= at, "h2: {h2}: completed {completed}, {} bytes", seen.len());
        let place = format!("body@{at}");
        assert_eq!(told(&pipelock.event().await), ("refused", Some(422), Some("secret_detected"), Some(&place[..])));
    }
}

// covers: H18
#[tokio::test]
async fn an_encoded_body_is_read_or_refused() {
    let origin = Origin::start(false, drained).await;
    let pipelock = Pipelock::start(config_for("a.test", &origin));
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let send = async |encoding: &str, body: Vec<u8>| {
        let request = Request::post("https://a.test/x").header("content-encoding", encoding).body(full(body)).unwrap();
        let answer = once(&pipelock, request).await;
        let reason = answer.head.headers.get("x-bottle-reason").map(|v| v.to_str().unwrap().to_owned());
        (answer.head.status.as_u16(), reason)
    };
    let refused = |reason: &str| (422, Some(reason.to_owned()));
    assert_eq!(send("gzip", gzip(b"fine")).await, (200, None));
    assert_eq!(send("gzip", gzip(SECRET.as_bytes())).await, refused("secret_detected"));
    assert_eq!(send("gzip, gzip", gzip(&gzip(SECRET.as_bytes()))).await, refused("secret_detected"));
    assert_eq!(send("gzip", b"not gzip".to_vec()).await, refused("body_not_scannable"));
    assert_eq!(send("br", gzip(b"fine")).await, refused("body_not_scannable"));
    assert_eq!(send("sdch", b"x".to_vec()).await, refused("body_not_scannable"));
    assert_eq!(send("gzip", gzip(&vec![0; 64 << 20])).await, refused("body_not_scannable"));
    assert_eq!(origin.count(), 1);
}

// covers: S05
#[tokio::test]
async fn a_password_in_the_target_is_refused_and_not_repeated() {
    let origin = Origin::start(false, drained).await;
    let pipelock = Pipelock::start(config_for("a.test", &origin));
    for request in [
        "GET https://user:hunter2@a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
        "GET https://a.test/ HTTP/1.1\r\nHost: user:hunter2@a.test\r\nConnection: close\r\n\r\n",
        "CONNECT user:hunter2@a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
    ] {
        let answer = raw(&pipelock, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400") && !answer.contains("hunter2"), "{answer}");
        let event = serde_json::to_string(&pipelock.event().await).unwrap();
        assert!(event.contains("ambiguous_target") && !event.contains("hunter2"), "{event}");
    }
    assert_eq!(origin.connections(), 0);
}

// covers: S06
#[tokio::test]
async fn no_refusal_repeats_the_request() {
    let origin = Origin::raw(|_| async {}).await;
    let pipelock = Pipelock::start(config_for("a.test", &origin));
    let request = get("https://a.test/private-path?private-query")
        .header("x-bottle-injected", "authorization")
        .header("authorization", format!("Bearer {SECRET}"))
        .body(empty())
        .unwrap();
    let answer = once(&pipelock, request).await;
    let (status, refusal) = answer.refusal();
    assert_eq!((status, refusal.reason.slug()), (502, "upstream_tls"));
    let event = serde_json::to_string(&pipelock.event().await).unwrap();
    for text in [&event[..], &String::from_utf8_lossy(&answer.body)] {
        assert!(!text.contains(SECRET) && !text.contains("private-query"), "{text}");
    }
}
