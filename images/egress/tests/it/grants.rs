//! Grants: they add to the routes, are counted, and close what they opened.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, mpsc};

use serde_json::{Value, json};

use crate::support::{Bottle, Egress, always, answer, route, script};

/// The configuration with these routes and grants.
fn config(bottle: &Bottle, generation: u64, routes: &[Value], grants: &[Value]) -> String {
    let mut config: Value = serde_json::from_str(&bottle.config(generation, routes)).unwrap();
    config["grants"] = grants.into();
    config.to_string()
}

fn grant(id: &str, host: &str, uses: Option<u64>) -> Value {
    json!({ "id": id, "route": route(host), "uses": uses })
}

#[track_caller]
fn replace(egress: &Egress, generation: u64, routes: &[Value], grants: &[Value]) {
    let event = egress.reload(&config(&egress.bottle, generation, routes, grants));
    assert_eq!((event.event.as_str(), event.generation), ("reload", Some(generation)), "{event:?}");
}

#[test]
fn a_grant_of_one_request_allows_one_and_no_reload_renews_it() {
    let egress = Bottle::new(always(answer("200 OK", &[], "hello"))).start(&[route("old.test")]);
    assert_eq!(egress.refusal(&["http://new.test/"]).1.reason.slug(), "host_not_listed");
    replace(&egress, 2, &[route("old.test")], &[grant("7", "new.test", Some(1))]);
    assert_eq!(egress.fetch(&["https://new.test/"]), "hello");
    assert_eq!(egress.bottle.stub.last().field("x-bottle-generation"), Some("2"));
    let event = egress.event(|event| event.event == "grant_used_up");
    assert_eq!(event.rule.as_deref(), Some("grant:7"));
    let event = egress.event(|event| event.rule.as_deref() == Some("grant:7") && event.event == "request");
    assert_eq!((event.generation, event.origin.as_deref()), (Some(2), Some("https://new.test")));
    assert_eq!(egress.refusal(&["http://new.test/"]).1.reason.slug(), "host_not_listed");
    replace(&egress, 3, &[route("old.test")], &[grant("7", "new.test", Some(1))]);
    assert_eq!(egress.refusal(&["http://new.test/"]).1.reason.slug(), "host_not_listed");
    assert_eq!(egress.fetch(&["https://old.test/"]), "hello");
}

#[test]
fn a_grant_that_brings_a_credential_is_no_policy() {
    let egress = Bottle::new(always(answer("200 OK", &[], "hello"))).start(&[route("old.test")]);
    let mut granted = grant("7", "new.test", None);
    granted["route"]["auth"] = json!({ "header": "authorization", "slot": "EGRESS_TOKEN_0" });
    let event = egress.reload(&config(&egress.bottle, 2, &[], &[granted]));
    assert_eq!((event.event.as_str(), event.generation), ("reload_failed", Some(1)));
    assert_eq!(egress.fetch(&["https://old.test/"]), "hello");
}

/// Agrees to a WebSocket, echoes a byte, and holds the stream until its end.
fn echo_and_hold() -> Bottle {
    Bottle::new(script(|_, stream| {
        let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut byte = [0];
        while stream.read(&mut byte).is_ok_and(|count| count > 0) && stream.write_all(&byte).is_ok() {}
        false
    }))
}

/// Opens a WebSocket to this host, and sees its echo.
fn open(egress: &Egress, host: &str) -> std::net::TcpStream {
    let mut stream = egress.dial();
    let request = format!(
        "GET http://{host}/ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", head.escape_ascii());
    echoes(&mut stream);
    stream
}

#[track_caller]
fn echoes(stream: &mut std::net::TcpStream) {
    let mut byte = [0];
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"x");
}

/// Nothing more comes; a reset is an end too.
#[track_caller]
fn has_ended(stream: &mut std::net::TcpStream) {
    match stream.read(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_websocket_ends_with_what_allowed_it_and_no_other_one_does() {
    let egress = echo_and_hold().start(&[route("kept.test"), route("gone.test")]);
    replace(&egress, 2, &[route("kept.test"), route("gone.test")], &[grant("7", "new.test", None), grant("8", "once.test", Some(1))]);
    let [mut kept, mut gone, mut granted, mut once] = ["kept.test", "gone.test", "new.test", "once.test"].map(|host| open(&egress, host));
    // The last use of a grant is under way: it goes on as long as the grant is there.
    assert_eq!(egress.refusal(&["http://once.test/"]).1.reason.slug(), "host_not_listed");
    replace(&egress, 3, &[route("kept.test"), route("gone.test")], &[grant("8", "once.test", Some(1))]);
    has_ended(&mut granted);
    [&mut kept, &mut gone, &mut once].into_iter().for_each(echoes);
    replace(&egress, 4, &[route("kept.test")], &[]);
    has_ended(&mut gone);
    has_ended(&mut once);
    echoes(&mut kept);
    let event = egress.event(|event| event.status == Some(101) && event.rule.as_deref() == Some("grant:7"));
    assert_eq!(event.message.as_deref(), Some("the route that allowed it has ended"));
    assert_eq!(egress.event(|event| event.event == "grant_used_up").rule.as_deref(), Some("grant:8"));
}

/// Answers with ten bytes: five at once, the others when the test says so.
fn half() -> (Bottle, mpsc::Sender<()>) {
    let (go, went) = mpsc::channel();
    let went = Arc::new(Mutex::new(went));
    let bottle = Bottle::new(script(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst").unwrap();
        let _ = went.lock().unwrap().recv();
        stream.write_all(b"later").is_ok()
    }));
    (bottle, go)
}

/// Asks for a page and reads until its first half is there.
fn begin(egress: &Egress, host: &str) -> std::net::TcpStream {
    let mut stream = egress.dial();
    stream.write_all(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
    let mut got = Vec::new();
    let mut byte = [0];
    while !got.ends_with(b"first") {
        stream.read_exact(&mut byte).unwrap();
        got.push(byte[0]);
    }
    stream
}

#[test]
fn an_answer_that_a_grant_allowed_ends_with_it_and_one_that_a_route_allowed_goes_on() {
    let (bottle, go) = half();
    let egress = bottle.start(&[route("old.test")]);
    replace(&egress, 2, &[route("old.test")], &[grant("7", "new.test", None)]);
    let mut granted = begin(&egress, "new.test");
    let mut routed = begin(&egress, "old.test");
    replace(&egress, 3, &[], &[]);
    has_ended(&mut granted);
    let event = egress.event(|event| event.rule.as_deref() == Some("grant:7"));
    assert_eq!((event.event.as_str(), event.reason.map(|reason| reason.slug())), ("refused", Some("grant_ended")));
    // Requests under way end under the generation that judged them.
    go.send(()).unwrap();
    go.send(()).unwrap();
    let mut rest = [0; 5];
    routed.read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b"later");
}

#[test]
fn an_upload_that_a_grant_allowed_is_refused_when_that_ends() {
    let (arrived, came) = mpsc::channel();
    let arrived = Mutex::new(arrived);
    let egress = Bottle::new(script(move |_, stream| {
        let _ = arrived.lock().unwrap().send(());
        // No answer: the next byte is the end.
        let _ = stream.read(&mut [0]);
        false
    }))
    .start(&[]);
    replace(&egress, 2, &[], &[grant("7", "new.test", None)]);
    let mut stream = egress.dial();
    stream.write_all(b"POST http://new.test/ HTTP/1.1\r\nHost: new.test\r\nContent-Length: 0\r\n\r\n").unwrap();
    came.recv().unwrap();
    replace(&egress, 3, &[], &[]);
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 403");
    let event = egress.event(|event| event.event == "refused");
    assert_eq!(event.reason.map(|reason| reason.slug()), Some("grant_ended"));
}
