//! Messages that pass, and what of them changes on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bottle_contract::host::Host;
use bottle_contract::pipelock::{Ports, Tunnel};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::origin::text;
use crate::support::sibling::{empty, full, get, once, raw};
use crate::support::{DEADLINE, Origin, Pipelock, Sibling, config, config_for, told};

async fn echo(request: Request<hyper::body::Incoming>) -> crate::support::origin::Answer {
    let line = format!("{:?} {} {}", request.version(), request.method(), request.uri());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Response::new(text([line.as_bytes(), b"|", &body].concat()))
}

#[tokio::test]
async fn a_request_reaches_an_origin_over_either_version_on_one_connection() {
    for (h2, line) in [(false, "HTTP/1.1 POST /v1/x?q=%41"), (true, "HTTP/2.0 POST https://a.test/v1/x?q=%41")] {
        let origin = Origin::start(h2, echo).await;
        let pipelock = Pipelock::start(config_for("a.test", &origin));
        let mut sibling = Sibling::dial(&pipelock).await;
        for body in ["", "hello"] {
            let request = Request::post("https://a.test/v1/x?q=%41").body(full(body)).unwrap();
            let answer = sibling.exchange(request).await;
            assert_eq!(answer.told(), (200, &format!("{line}|{body}")[..]));
        }
        assert_eq!(origin.connections(), 1, "h2: {h2}");
    }
}

#[tokio::test]
async fn an_origin_of_both_protocols_is_asked_in_the_agents_own() {
    let origin = Origin::start(true, echo).await;
    let pipelock = Pipelock::start(config_for("a.test", &origin));
    for (field, line) in [("", "HTTP/1.1 GET /x|"), ("x-bottle-http-2: 1\r\n", "HTTP/2.0 GET https://a.test/x|")] {
        let head = format!("GET https://a.test/x HTTP/1.1\r\nhost: a.test\r\n{field}connection: close\r\n\r\n");
        let answer = raw(&pipelock, head.as_bytes()).await;
        assert!(answer.ends_with(&format!("\r\n\r\n{line}")), "{answer}");
    }
}

#[tokio::test]
async fn an_event_tells_what_was_asked_dialled_sent_and_received() {
    let origin = Origin::start(false, echo).await;
    let pipelock = Pipelock::start(config_for("a.test", &origin));
    let request = Request::post("https://a.test/v1?t=private").header("x-bottle-request-id", "77-1").body(full("hello")).unwrap();
    let answer = once(&pipelock, request).await;
    let event = pipelock.event().await;
    assert_eq!(told(&event), ("request", Some(200), None, None));
    assert_eq!(event.request_id.as_deref(), Some("77-1"));
    assert_eq!(event.origin.as_deref(), Some("https://a.test"));
    assert_eq!((event.method.as_deref(), event.path.as_deref()), (Some("POST"), Some("/v1")));
    assert_eq!(event.dialled, Some(origin.address.to_string()));
    assert_eq!((event.sent, event.received), (Some(5), Some(answer.body.len() as u64)));
    assert_eq!((event.generation, event.rule.as_deref()), (Some(1), Some("*.test")));
    assert!(event.micros.is_some());
    assert!(!serde_json::to_string(&event).unwrap().contains("private"));
}

// covers: H11 S11
#[tokio::test]
async fn what_belongs_to_one_connection_or_to_bottle_goes_no_further() {
    let origin = Origin::start(false, |_| async {
        Response::builder()
            .status(307)
            .header("location", "https://other.test/steal")
            .header("alt-svc", "h3=\":443\"")
            .header("keep-alive", "timeout=5")
            .header("x-bottle-reason", "forged")
            .body(text("moved"))
            .unwrap()
    })
    .await;
    let pipelock = Pipelock::start(config_for("a.test", &origin));
    let request = get("https://a.test/")
        .header("x-bottle-injected", "authorization")
        .header("x-bottle-request-id", "1-1")
        .header("authorization", "Bearer real")
        .header("proxy-authorization", "Basic x")
        .header("accept", "*/*")
        .body(empty())
        .unwrap();
    let answer = once(&pipelock, request).await;
    assert_eq!(answer.told(), (307, "moved"), "a redirect is an answer like any other");
    let names: Vec<_> = answer.head.headers.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["location", "content-length", "date"]);
    let requests = origin.requests.lock().unwrap();
    let mut sent: Vec<_> = requests[0].headers.keys().map(|name| name.as_str()).collect();
    sent.sort_unstable();
    assert_eq!(sent, ["accept", "authorization", "host"]);
    assert_eq!((requests.len(), requests[0].headers["host"].to_str().unwrap()), (1, "a.test"));
}

// covers: N15
#[tokio::test]
async fn what_is_not_listed_is_refused_and_nothing_is_dialled() {
    let origin = Origin::start(false, echo).await;
    let mut config = config_for("*", &origin);
    config.x_bottle.ports = vec![Ports { host: "p.test".parse().unwrap(), ports: vec![8443] }];
    let pipelock = Pipelock::start(config);
    for (uri, status, reason) in [
        ("https://a.example/", 403, "host_not_listed"),
        ("https://test/", 403, "host_not_listed"),
        ("https://a.test.example/", 403, "host_not_listed"),
        ("https://1.1.1.1/", 403, "host_not_listed"),
        ("https://a.test:8443/", 403, "port_not_listed"),
        ("https://p.test/", 403, "port_not_listed"),
        ("http://pipelock:8888/", 403, "self_request"),
        ("http://supervise:9100/", 403, "self_request"),
        ("http://metadata.google.internal/", 403, "metadata_address"),
        ("http://169.254.169.254/latest/", 403, "host_not_listed"),
    ] {
        let (got, refusal) = once(&pipelock, get(uri).body(empty()).unwrap()).await.refusal();
        assert_eq!((got, refusal.reason.slug(), &refusal.component[..]), (status, reason, "pipelock"), "{uri}");
        let event = pipelock.event().await;
        assert_eq!(told(&event), ("refused", Some(status), Some(reason), None), "{uri}");
        assert_eq!(event.request_id, Some(refusal.request_id));
    }
    assert_eq!(origin.connections(), 0);
    assert_eq!(once(&pipelock, get("https://p.test:8443/").body(empty()).unwrap()).await.told().0, 200);
}

// covers: N07
#[tokio::test]
async fn no_spelling_of_a_private_address_is_reached_in_any_form_of_request() {
    let origin = Origin::start(false, echo).await;
    let mut config = config();
    config.api_allowlist = vec!["*".parse().unwrap()];
    let port = origin.address.port();
    config.x_bottle.ports = vec![Ports { host: "*".parse().unwrap(), ports: vec![port] }];
    let pipelock = Pipelock::start(config);
    for host in [
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0",
        "127.0.0.1",
        "127.0.0.1.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[fe80::1%25lo]",
        "%31%32%37.0.0.1",
        "localhost",
        "localhost.",
        "ip6-localhost",
        "\u{ff11}27.0.0.1",
    ] {
        for (form, request) in [
            ("absolute https", format!("GET https://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n")),
            ("absolute http", format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n")),
            ("origin form", format!("GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n")),
            ("CONNECT", format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n")),
        ] {
            let answer = raw(&pipelock, request.as_bytes()).await;
            let status = answer.get(9..12).unwrap_or_default();
            // What is not even ASCII is no request line: the connection ends without a word.
            let closed = answer.is_empty() && !host.is_ascii();
            assert!(closed || ["400", "403", "421", "502"].contains(&status), "{form} {host}: {answer}");
        }
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_tunnel_opens_to_its_exact_target_alone() {
    let origin = Origin::raw(|mut stream| async move {
        stream.write_all(b"SSH-2.0-test\r\n").await.unwrap();
        let mut line = [0; 5];
        stream.read_exact(&mut line).await.unwrap();
        stream.write_all(&line).await.unwrap();
    })
    .await;
    let mut config = config_for("git.test", &origin);
    config.x_bottle.tunnels = vec![Tunnel { host: Host::parse("git.test").unwrap(), port: 22, address: None }];
    let pipelock = Pipelock::start(config);
    let mut stream = tokio::net::UnixStream::connect(&pipelock.socket).await.unwrap();
    stream.write_all(b"CONNECT git.test:22 HTTP/1.1\r\nHost: git.test:22\r\n\r\nhello").await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    drop(stream);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nSSH-2.0-test\r\nhello"), "{answer}");
    assert_eq!(pipelock.event().await.event, "tunnel");

    for target in ["git.test:443", "git.test:2222", "x.git.test:22", "other.example:22"] {
        let answer = raw(&pipelock, format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{target}: {answer}");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn an_event_of_a_stream_passes_before_the_next_one_is_made() {
    for h2 in [false, true] {
        let (next, waiting) = mpsc::channel::<Bytes>(1);
        let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
        let origin = Origin::start(h2, move |_| {
            let waiting = waiting.clone();
            async move {
                let (sender, receiver) = mpsc::channel(1);
                tokio::spawn(async move {
                    while let Some(event) = waiting.lock().await.recv().await {
                        sender.send(Ok(Frame::data(event))).await.unwrap();
                    }
                });
                let frames = futures_util::stream::unfold(receiver, |mut r| async { r.recv().await.map(|frame| (frame, r)) });
                let body = BodyExt::boxed(StreamBody::new(frames));
                Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
            }
        })
        .await;
        let pipelock = Pipelock::start(config_for("a.test", &origin));
        let mut sibling = Sibling::dial(&pipelock).await;
        let mut answer = sibling.send(get("https://a.test/events").body(empty()).unwrap()).await.into_body();
        for number in 0..5 {
            let event = Bytes::from(format!("data: {number}\n\n"));
            next.send(event.clone()).await.unwrap();
            let frame = timeout(DEADLINE, answer.frame()).await.expect("the event before the next one").unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), event, "h2: {h2}");
        }
        drop(next);
        assert!(timeout(DEADLINE, answer.frame()).await.unwrap().is_none());
    }
}

/// A body of `chunks` times 64 KiB, made as it is asked for.
fn long(chunks: usize) -> crate::support::sibling::Body {
    let chunk = Bytes::from(b"All work and no play makes Jack a dull boy. ".repeat(1490)).slice(..65_536);
    let frames = futures_util::stream::iter((0..chunks).map(move |_| Ok(Frame::data(chunk.clone()))));
    BodyExt::boxed(StreamBody::new(frames))
}

// covers: H16
#[test]
fn a_large_body_streams_both_ways_in_bounded_memory() {
    // What other tests need in this process must not count.
    let name = "messages::a_large_body_streams_both_ways_in_a_process_of_its_own";
    let alone = std::process::Command::new(std::env::current_exe().unwrap()).args(["--ignored", "--exact", name]).output().unwrap();
    let said = String::from_utf8_lossy(&alone.stdout);
    assert!(alone.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&alone.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by a_large_body_streams_both_ways_in_bounded_memory"]
async fn a_large_body_streams_both_ways_in_a_process_of_its_own() {
    const CHUNKS: usize = 1024;
    for h2 in [false, true] {
        let seen = Arc::new(AtomicU64::new(0));
        let count = seen.clone();
        let origin = Origin::start(h2, move |request| {
            let count = count.clone();
            async move {
                let mut body = request.into_body();
                while let Some(frame) = body.frame().await {
                    count.fetch_add(frame.unwrap().into_data().map_or(0, |d| d.len() as u64), Ordering::SeqCst);
                }
                Response::new(long(CHUNKS))
            }
        })
        .await;
        let pipelock = Pipelock::start(config_for("a.test", &origin));
        let mut sibling = Sibling::dial(&pipelock).await;
        let before = peak_memory();
        let request = Request::post("https://a.test/up").header("content-length", CHUNKS * 65_536).body(long(CHUNKS)).unwrap();
        let received = timeout(4 * DEADLINE, async {
            let mut body = sibling.send(request).await.into_body();
            let mut received = 0;
            while let Some(frame) = body.frame().await {
                received += frame.unwrap().into_data().map_or(0, |d| d.len());
            }
            received
        })
        .await
        .expect("in time");
        assert_eq!((seen.load(Ordering::SeqCst), received), (CHUNKS as u64 * 65_536, CHUNKS * 65_536));
        // The origin and the sibling share this process: the bound is far below one body all the same.
        let grown = peak_memory() - before;
        assert!(grown < 40 << 10, "h2: {h2}, grown by {grown} KiB");
    }
}

/// The most memory that this process ever had, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

// covers: H16
#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_whether_its_length_was_told_or_not() {
    let origin = Origin::start(false, echo).await;
    let mut config = config_for("a.test", &origin);
    config.x_bottle.limits.body_bytes = 3 << 20;
    let pipelock = Pipelock::start(config);
    let told_length = format!("POST https://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", 10_u64 << 30);
    let answer = raw(&pipelock, told_length.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("too_large"), "{answer}");
    let chunked = Request::post("https://a.test/").body(long(64)).unwrap();
    let answer = Sibling::dial(&pipelock).await.send(chunked).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["x-bottle-reason"].to_str().unwrap()), (413, "too_large"));
}

// covers: Y10
#[tokio::test]
async fn a_bad_table_changes_nothing_and_a_good_one_all_at_once() {
    let origin = Origin::start(false, echo).await;
    let mut next = config_for("*", &origin);
    next.api_allowlist = vec!["a.test".parse().unwrap()];
    let pipelock = Pipelock::start(next.clone());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pipelock.yaml");
    let status = async || {
        let answer = once(&pipelock, get("https://late.test/").body(empty()).unwrap()).await;
        assert_eq!(pipelock.event().await.generation, Some(if answer.told().0 == 200 { 2 } else { 1 }));
        answer.told().0
    };
    next.api_allowlist.push("late.test".parse().unwrap());
    next.x_bottle.generation = 2;
    let whole = serde_json::to_vec(&next).unwrap();
    next.x_bottle.generation = 0;
    let older = serde_json::to_vec(&next).unwrap();
    next.x_bottle.generation = 3;
    next.x_bottle.trust.push("/nowhere/at/all.pem".into());
    let untrusted = serde_json::to_vec(&next).unwrap();

    for (what, text) in [("empty", &b""[..]), ("half", &whole[..whole.len() / 2]), ("older", &older), ("unreadable roots", &untrusted)] {
        std::fs::write(&file, text).unwrap();
        pipelock.door.reload(directory.path());
        let event = pipelock.event().await;
        assert_eq!((&event.event[..], event.generation), ("reload_failed", Some(1)), "{what}");
        assert_eq!(status().await, 403, "{what}");
    }
    std::fs::remove_file(&file).unwrap();
    pipelock.door.reload(directory.path());
    assert_eq!(pipelock.event().await.event, "reload_failed");
    std::fs::write(&file, &whole).unwrap();
    pipelock.door.reload(directory.path());
    let event = pipelock.event().await;
    assert_eq!((&event.event[..], event.generation), ("reload", Some(2)));
    assert_eq!(status().await, 200);
}

#[tokio::test]
async fn a_request_is_judged_by_the_generation_that_its_sibling_has_judged_it_by() {
    let origin = Origin::start(false, echo).await;
    let mut config = config_for("a.test", &origin);
    let pipelock = Pipelock::start(config.clone());
    config.x_bottle.generation = 3;
    config.api_allowlist = vec!["b.test".parse().unwrap()];
    pipelock.replace(&config).await;
    let status = async |generation: Option<u64>| {
        let request = get("https://a.test/");
        let request = match generation {
            Some(generation) => request.header("x-bottle-generation", generation),
            None => request,
        };
        let status = once(&pipelock, request.body(empty()).unwrap()).await.told().0;
        (status, pipelock.event().await.generation)
    };
    // Those between the two differ from the one before in nothing that concerns pipelock.
    for generation in [1, 2] {
        assert_eq!(status(Some(generation)).await, (200, Some(1)));
    }
    for generation in [Some(0), Some(3), Some(4), None] {
        assert_eq!(status(generation).await, (403, Some(3)), "{generation:?}");
    }
}

#[tokio::test]
async fn a_parent_proxy_is_asked_for_a_tunnel_and_tls_goes_through_it() {
    let origin = Origin::start(true, echo).await;
    let target = origin.address;
    let asked = Arc::new(std::sync::Mutex::new(String::new()));
    let log = asked.clone();
    let parent = Origin::raw(move |mut stream| {
        let log = log.clone();
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            *log.lock().unwrap() = String::from_utf8(head).unwrap();
            stream.write_all(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n").await.unwrap();
            let mut origin = tokio::net::TcpStream::connect(target).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut origin).await;
        }
    })
    .await;
    let mut config = config();
    config.x_bottle.parent =
        Some(bottle_contract::pipelock::Parent { address: parent.address, ca: Some(origin.authority.display().to_string()) });
    let pipelock = Pipelock::start(config);
    let answer = once(&pipelock, get("https://a.test/x").body(empty()).unwrap()).await;
    assert_eq!(answer.told(), (200, "HTTP/2.0 GET https://a.test/x|"));
    assert_eq!(*asked.lock().unwrap(), "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n");
    assert_eq!(pipelock.event().await.dialled, Some(parent.address.to_string()));
}

#[tokio::test]
async fn a_parent_that_refuses_is_an_unreachable_origin() {
    let parent = Origin::raw(|mut stream| async move {
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(b"HTTP/1.1 403 No \x1b[2J\r\n\r\n").await;
        // To its end, so that the answer is not lost to a reset.
        while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    })
    .await;
    let mut config = config();
    config.x_bottle.parent = Some(bottle_contract::pipelock::Parent { address: parent.address, ca: None });
    let pipelock = Pipelock::start(config);
    let (status, refusal) = once(&pipelock, get("https://a.test/x").body(empty()).unwrap()).await.refusal();
    assert_eq!((status, refusal.reason.slug()), (502, "upstream_unreachable"));
    assert!(!refusal.message.contains('\u{1b}'));
}
