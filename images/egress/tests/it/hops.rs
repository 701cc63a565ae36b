//! The next hop: connections that are kept, refusals that pass through, upgrades, and its absence.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use bottle_contract::Reason;
use serde_json::json;

use crate::support::{BINARY, Bottle, TOKEN, always, answer, authority, read_request, route, script, with_token};

#[test]
fn requests_one_after_the_other_share_a_connection() {
    let egress = Bottle::new(script(|arrived, stream| {
        let text = if arrived.line.contains("/chunked") {
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned()
        } else {
            answer("200 OK", &[], "hello")
        };
        stream.write_all(text.as_bytes()).is_ok()
    }))
    .start(&[route("open.test")]);
    for path in ["", "chunked", "", "chunked", ""] {
        assert_eq!(egress.fetch(&[&format!("https://open.test/{path}")]), "hello");
        assert_eq!(egress.fetch(&["--data", "x=y", &format!("http://open.test/{path}")]), "hello");
    }
    assert_eq!(egress.stub().arrived().len(), 10);
    assert!(*egress.stub().connections.lock().unwrap() <= 2, "bodies end in the background");
}

#[test]
fn a_connection_that_pipelock_closed_is_not_used_again() {
    let egress = Bottle::new(script(|_, stream| {
        stream.write_all(answer("200 OK", &[], "hello").as_bytes()).unwrap();
        false
    }))
    .start(&[route("open.test")]);
    for _ in 0..10 {
        assert_eq!(egress.fetch(&["https://open.test/"]), "hello");
    }
}

#[test]
fn a_get_that_a_kept_connection_lost_is_sent_again_and_a_post_is_not() {
    let lost = Mutex::new(HashSet::new());
    let egress = Bottle::new(script(move |arrived, stream| {
        // Each but the first is lost, once.
        let answered = arrived.line.contains("/one") || !lost.lock().unwrap().insert(arrived.line.clone());
        answered && stream.write_all(answer("200 OK", &[], "hello").as_bytes()).is_ok()
    }))
    .start(&[route("open.test")]);
    assert_eq!(egress.fetch(&["https://open.test/one"]), "hello");
    assert_eq!(egress.fetch(&["https://open.test/two"]), "hello");
    let (status, refusal) = egress.refusal(&["--data", "x=y", "https://open.test/three"]);
    assert_eq!((status.as_str(), refusal.reason), ("502", Reason::SidecarGone));
    let lines: Vec<String> = egress.stub().arrived().into_iter().map(|arrived| arrived.line).collect();
    let get = |path| format!("GET https://open.test/{path} HTTP/1.1");
    assert_eq!(lines, [get("one"), get("two"), get("two"), "POST https://open.test/three HTTP/1.1".to_owned()]);
}

#[test]
fn what_pipelock_refuses_is_heard_as_it_is() {
    let page = r#"{"reason":"secret_detected","message":"m","hint":"h","component":"pipelock","request_id":"1-1"}"#;
    let egress =
        Bottle::new(always(answer("403 Forbidden", &[("x-bottle-reason", "secret_detected")], page))).start(&[with_token("api.test")]);
    let text = egress.fetch(&["-i", "https://api.test/"]);
    assert!(text.contains("x-bottle-reason: secret_detected") && text.ends_with(page), "{text}");
    let event = egress.event(|event| event.event == "refused");
    assert_eq!((event.reason, event.status), (Some(Reason::SecretDetected), Some(403)));
}

#[test]
fn when_pipelock_is_gone_nothing_leaves_and_the_agent_is_told() {
    let egress = Bottle::new(script(|_, _| false)).start(&[with_token("api.test")]);
    let gone = |egress: &crate::support::Egress| {
        let (status, refusal) = egress.refusal(&["https://api.test/"]);
        assert_eq!((status.as_str(), refusal.reason), ("502", Reason::SidecarGone));
    };
    gone(&egress);
    std::fs::remove_file(&egress.stub().socket).unwrap();
    gone(&egress);
}

#[test]
fn an_answer_that_is_not_http_is_not_passed_on() {
    for text in
        ["SSH-2.0-x\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "HTTP/1.1 200 OK\r\nx\0y: z\r\n\r\n"]
    {
        let egress = Bottle::new(always(text.to_owned())).start(&[route("open.test")]);
        let (status, refusal) = egress.refusal(&["https://open.test/"]);
        assert_eq!((status.as_str(), refusal.reason), ("502", Reason::UpstreamProtocol), "{text:?}");
    }
}

// covers: H10 S10 A10
#[test]
fn a_websocket_reaches_the_origin_and_its_echo_is_blanked() {
    let echo = script(|arrived, stream| {
        assert_eq!((arrived.field("upgrade"), arrived.field("sec-websocket-extensions")), (Some("websocket"), None));
        assert_eq!(arrived.field("authorization"), Some(&*format!("Bearer {TOKEN}")));
        let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut frame = [0; 5];
        stream.read_exact(&mut frame).unwrap();
        // The echo comes in two frames of one message.
        let (first, second) = TOKEN.split_at(9);
        let part = |first: u8, text: &str| [&[first, text.len() as u8], text.as_bytes()].concat();
        stream.write_all(&[part(0x81, std::str::from_utf8(&frame).unwrap()), part(0x01, first)].concat()).unwrap();
        stream.write_all(&part(0x80, second)).unwrap();
        false
    });
    let egress = Bottle::new(echo).start(&[with_token("api.test")]);
    let mut stream = egress.dial();
    // Plain HTTP has no credential: a tunnel and TLS first.
    stream.write_all(b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n").unwrap();
    drop(stream);
    let mut child = Command::new("openssl")
        .args([
            "s_client",
            "-quiet",
            "-proxy",
            &egress.address.to_string(),
            "-connect",
            "api.test:443",
            "-servername",
            "api.test",
            "-CAfile",
        ])
        .arg(egress.bottle.path("ca/cert.pem"))
        .args(["-verify_return_error", "-verify_hostname", "api.test"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is needed by this test");
    let mut stdin = child.stdin.take().unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    stdin.write_all(request.as_bytes()).unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut status = String::new();
    out.read_line(&mut status).unwrap();
    assert_eq!(status, "HTTP/1.1 101 Switching Protocols\r\n");
    stdin.write_all(b"frame").unwrap();
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    let stars = "*".repeat(TOKEN.len());
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.contains("\r\n\r\n") && !rest.contains(TOKEN) && rest.replace(|c: char| c != '*', "") == stars, "{rest}");
    child.wait().unwrap();
    let event = egress.event(|event| event.status == Some(101));
    assert_eq!(event.sent, Some(5));
}

/// Trailers as pipelock sends them.
fn packed(trailers: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(trailers)
}

// covers: V09 V10
#[test]
fn trailers_reach_the_agent_over_either_version_and_hold_no_credential() {
    let carried = packed(&format!("grpc-status:0\nx-echo:{TOKEN}\nx-bottle-reason:forged\n"));
    let text = format!(
        "HTTP/1.1 200 OK\r\ntrailer: grpc-status, x-echo\r\ntrailer: x-bottle-trailers\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nx-bottle-trailers: {carried}\r\n\r\n"
    );
    let egress = Bottle::new(always(text)).start(&[with_token("api.test")]);
    for version in ["--http1.1", "--http2"] {
        let got = egress.fetch(&["-i", version, "-H", "te: trailers", "https://api.test/"]);
        let stars = "*".repeat(TOKEN.len());
        assert!(got.contains("grpc-status: 0") && got.contains(&format!("x-echo: {stars}")), "{version}: {got}");
        assert!(!got.contains(TOKEN) && !got.contains("x-bottle-"), "{version}: {got}");
        let arrived = egress.stub().last();
        assert_eq!((arrived.field("te"), arrived.field("x-bottle-takes-trailers")), (Some("trailers"), Some("1")), "{version}");
    }
}

/// An intercepting proxy in openssl's clothes: `CONNECT`, then TLS with its own authority's leaf.
fn parent(answer: &'static str) -> (std::net::SocketAddr, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let asked = read_request(&mut reader).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        asked.line
    });
    (address, served)
}

#[test]
fn a_parent_proxy_that_refuses_is_heard() {
    for (said, reason) in [
        ("HTTP/1.1 403 Forbidden\r\nx-bottle-reason: address_not_public\r\n\r\n", Reason::AddressNotPublic),
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Reason::UpstreamUnreachable),
        ("", Reason::UpstreamUnreachable),
        ("HTTP/1.1 200 OK\r\n\r\nnot TLS at all, really", Reason::UpstreamTls),
    ] {
        let (address, served) = parent(said);
        let bottle = Bottle::new(script(|_, _| false));
        let (ca, _) = authority();
        bottle.write("config/parent.pem", &ca);
        let upstream = json!({ "parent": { "address": address.to_string(), "ca": bottle.path("config/parent.pem") } });
        bottle.write("config/egress.json", &bottle.config_with(1, &[with_token("api.test")], upstream));
        let root = bottle.path("");
        let egress = bottle.run(&[BINARY], &root);
        let (_, refusal) = egress.refusal(&["https://api.test/"]);
        assert_eq!(refusal.reason, reason, "{said}");
        assert_eq!(served.join().unwrap(), "CONNECT api.test:443 HTTP/1.1");
    }
}

/// A second `bottle-egress` is an intercepting proxy too.
#[test]
fn through_a_parent_proxy_the_origin_is_authenticated_by_its_authority() {
    let far = Bottle::new(always(answer("200 OK", &[], "hello"))).start(&[route("api.test")]);
    for (trusted, status) in [(true, "200"), (false, "502")] {
        let bottle = Bottle::new(script(|_, _| false));
        let ca = if trusted { std::fs::read_to_string(far.bottle.path("ca/cert.pem")).unwrap() } else { authority().0 };
        bottle.write("config/parent.pem", &ca);
        let upstream = json!({ "parent": { "address": far.address.to_string(), "ca": bottle.path("config/parent.pem") } });
        bottle.write("config/egress.json", &bottle.config_with(1, &[with_token("api.test")], upstream));
        let root = bottle.path("");
        let egress = bottle.run(&[BINARY], &root);
        let text = egress.fetch(&["-w", "%{http_code}", "https://api.test/x", "https://api.test/y"]);
        assert!(text.ends_with(status), "{text}");
        if trusted {
            assert_eq!(text, "hello200hello200");
            assert_eq!(far.stub().last().line, "GET https://api.test/y HTTP/1.1");
            assert_eq!(far.stub().last().field("authorization"), Some(&*format!("Bearer {TOKEN}")));
        } else {
            assert!(text.contains("upstream_tls"), "{text}");
        }
    }
    assert_eq!(far.stub().arrived().len(), 2, "an authority that is not trusted gets no credential");
}
