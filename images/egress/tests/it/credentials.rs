//! Which credential leaves, and that it never comes back.

use std::io::Write;

use serde_json::json;

use crate::support::{Bottle, TOKEN, always, answer, route, script, with_token};

// covers: S10 Y06
#[test]
fn the_real_credential_takes_the_place_of_the_agents() {
    let egress = Bottle::new(always(answer("200 OK", &[], "hello"))).start(&[with_token("api.test")]);
    let body = egress.fetch(&[
        "-H",
        "authorization: Bearer fake",
        "-H",
        "x-api-key: fake",
        "-H",
        "cookie: fake=1",
        "-H",
        "private-token: fake",
        "-H",
        "proxy-authorization: Basic ZmFrZQ==",
        "-H",
        "x-bottle-injected: user-agent",
        "-H",
        "accept-encoding: gzip",
        "-H",
        "user-agent: test",
        "https://api.test/v1/x?y=z",
    ]);
    assert_eq!(body, "hello");
    let mut arrived = egress.stub().last();
    arrived.fields.sort();
    let id = arrived.field("x-bottle-request-id").unwrap().to_owned();
    let expected = [
        ("accept", "*/*"),
        ("accept-encoding", "identity"),
        ("authorization", "Bearer r3al-t0ken-of-the-operator"),
        // Trailers may always come back over this hop.
        ("connection", "te"),
        ("host", "api.test"),
        ("te", "trailers"),
        ("user-agent", "test"),
        ("x-bottle-generation", "1"),
        ("x-bottle-http-2", "1"),
        ("x-bottle-injected", "authorization"),
        ("x-bottle-request-id", id.as_str()),
    ];
    assert_eq!(arrived.line, "GET https://api.test/v1/x?y=z HTTP/1.1");
    assert_eq!(arrived.fields, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    let event = egress.event(|event| event.event == "request");
    assert_eq!(event.request_id, Some(id));
    assert_eq!(event.origin.as_deref(), Some("https://api.test"));
    assert_eq!(event.path.as_deref(), Some("/v1/x"));
    assert_eq!((event.injected.as_deref(), event.status, event.received), (Some("authorization"), Some(200), Some(5)));
}

// covers: S12 A02 A12 A13 V36 V37
#[test]
fn no_credential_goes_where_its_route_does_not_lead() {
    let bound = json!({
        "host": "allowed.test", "ports": [443, 80], "matches": [{ "methods": ["GET"], "paths": [{ "prefix": "/v1/" }] }],
        "auth": { "header": "authorization", "scheme": "Bearer", "slot": "EGRESS_TOKEN_0" },
    });
    let routes = [bound, route("*.evil.test"), route("open.test")];
    let egress = Bottle::new(always(answer("200 OK", &[], "hello"))).start(&routes);
    for url in ["https://allowed.test.evil.test/v1/x", "http://allowed.test/v1/x", "https://open.test/v1/x"] {
        assert_eq!(egress.fetch(&[url]), "hello", "{url}");
    }
    for (status, reason, arguments) in [
        ("403", "method_not_allowed", &["-X", "POST", "https://allowed.test/v1/x"][..]),
        ("403", "path_not_allowed", &["https://allowed.test/v2/x"]),
        ("400", "ambiguous_target", &["--path-as-is", "https://allowed.test/v1/../x"]),
        ("403", "host_not_listed", &["http://evil.example/v1/x"]),
        ("403", "host_not_listed", &["https://evil.example/v1/x"]),
        ("403", "host_not_listed", &["--http1.1", "https://evil.example/v1/x"]),
        ("403", "method_not_allowed", &["-H", "x-http-method-override: DELETE", "https://allowed.test/v1/x"]),
        ("403", "method_not_allowed", &["-H", "X_HTTP_Method: post", "https://allowed.test/v1/x"]),
        ("400", "ambiguous_target", &["-H", "x-original-url: /v2/x", "https://allowed.test/v1/x"]),
        ("403", "path_not_allowed", &["-H", "destination: https://allowed.test/v2/x", "https://allowed.test/v1/x"]),
        ("400", "ambiguous_target", &["-H", "destination: https://b.test/v1/x", "https://allowed.test/v1/x"]),
        ("403", "path_not_allowed", &["--path-as-is", "https://allowed.test//v1/x"]),
        ("403", "path_not_allowed", &["--path-as-is", "https://allowed.test/v1/%c0%ae%c0%ae/x"]),
        ("403", "path_not_allowed", &["--path-as-is", "https://allowed.test/v1/..%20/x"]),
        ("403", "port_not_listed", &["http://allowed.test:8080/v1/x"]),
        ("403", "self_request", &["http://supervise:9100/mcp"]),
        ("403", "self_request", &["http://localhost:22/"]),
        ("403", "git_push_bypass", &["https://open.test/a.git/info/refs?service=git-receive-pack"]),
        ("403", "git_push_bypass", &["-X", "POST", "https://open.test/a.git/git-receive-pack"]),
        ("403", "git_push_bypass", &["-X", "POST", "https://open.test/a.git/git-receive-pack;x=1"]),
        ("403", "git_push_bypass", &["-X", "POST", "--http2", "https://open.test/a.git/git-receive-pack%3Bx"]),
        (
            "403",
            "git_push_bypass",
            &["--http2", "-d", "0000", "-H", "content-type: application/x-git-receive-pack-request", "https://open.test/x"],
        ),
    ] {
        let (got, refusal) = egress.refusal(arguments);
        assert_eq!((got.as_str(), refusal.reason.slug(), refusal.component.as_str()), (status, reason, "egress"), "{arguments:?}");
    }
    assert!(!egress.curl(&["https://allowed.test:8443/v1/x"]).status.success());
    let arrived = egress.stub().arrived();
    assert_eq!(arrived.len(), 3, "{arrived:#?}");
    assert!(!format!("{arrived:?}").contains(TOKEN));
}

#[test]
fn without_a_credential_the_agents_own_passes() {
    let egress = Bottle::new(always(answer("200 OK", &[("set-cookie", "a=b")], "hello"))).start(&[route("open.test")]);
    let text = egress.fetch(&["-i", "-H", "authorization: Bearer mine", "-H", "cookie: c=d", "https://open.test/"]);
    assert!(text.contains("set-cookie: a=b"), "{text}");
    let arrived = egress.stub().last();
    assert_eq!((arrived.field("authorization"), arrived.field("cookie")), (Some("Bearer mine"), Some("c=d")));
    assert_eq!(arrived.field("x-bottle-injected"), None);
}

// covers: S10
#[test]
fn an_origin_that_echoes_the_credential_is_blanked() {
    let echo = script(|arrived, stream| {
        let token = arrived.field("authorization").unwrap_or("none").to_owned();
        let (first, second) = token.split_at(token.len() / 2);
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let head = format!("HTTP/1.1 200 {token}\r\nx-echo: {token}\r\nset-cookie: s={token}\r\nlocation: /?t={token}\r\n");
        stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n{}", chunk(&format!("first {first}"))).as_bytes()).unwrap();
        stream.flush().unwrap();
        stream.write_all(format!("{}0\r\n\r\n", chunk(&format!("{second} then {token}"))).as_bytes()).is_ok()
    });
    let egress = Bottle::new(echo).start(&[with_token("api.test")]);
    let text = egress.fetch(&["-i", "https://api.test/echo"]);
    let stars = "*".repeat(TOKEN.len());
    assert!(!text.contains(TOKEN), "{text}");
    assert!(text.contains(&format!("x-echo: Bearer {stars}")) && text.contains(&format!("location: /?t=Bearer {stars}")), "{text}");
    assert!(text.ends_with(&format!("first Bearer {stars} then Bearer {stars}")), "{text}");
    assert!(!text.contains("set-cookie"), "{text}");
    let event = egress.event(|event| event.event == "request");
    assert_eq!(event.message.as_deref(), Some("the origin echoed the credential; 2 occurrences were blanked"));
}

type Served = std::sync::Arc<dyn Fn(&crate::support::Arrived, &mut std::os::unix::net::UnixStream) -> bool + Send + Sync>;

/// Sends a body in one go.
fn serve(fields: &str, body: &[u8]) -> Served {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n", body.len());
    let (head, body) = (head.into_bytes(), body.to_vec());
    script(move |arrived, stream| {
        let body = if arrived.line.starts_with("HEAD") { &[][..] } else { &body };
        stream.write_all(&[&head, body].concat()).is_ok()
    })
}

// covers: V30
#[test]
fn an_answer_that_comes_compressed_is_read_blanked_and_passed_on_plain() {
    use std::io::Read as _;
    let text = format!("before {TOKEN} behind ").repeat(2000);
    let mut gzip = Vec::new();
    flate2::bufread::GzEncoder::new(text.as_bytes(), flate2::Compression::best()).read_to_end(&mut gzip).unwrap();
    let fields = "content-encoding: gzip\r\netag: \"x\"\r\ncontent-md5: x\r\naccept-ranges: bytes\r\n";
    let egress = Bottle::new(serve(fields, &gzip)).start(&[with_token("api.test"), route("open.test")]);
    let blanked = text.replace(TOKEN, &"*".repeat(TOKEN.len()));
    for version in ["--http1.1", "--http2"] {
        let got = egress.fetch(&["-i", "--suppress-connect-headers", version, "https://api.test/"]);
        let (head, body) = got.split_once("\r\n\r\n").unwrap();
        assert!(body == blanked, "{} bytes", body.len());
        let head = head.to_lowercase();
        assert!(!["content-encoding", "content-md5", "accept-ranges", "content-length"].iter().any(|name| head.contains(name)), "{head}");
        assert!(head.contains("etag: w/\"x\""), "{head}");
    }
    // Without a credential it is the agent's to decode.
    assert_eq!(egress.fetch(&["--compressed", "https://open.test/"]), text);
    let head = egress.fetch(&["-I", "https://api.test/"]);
    assert!(!head.contains("content-encoding"), "{head}");
}

// covers: V30
#[test]
fn a_coding_that_cannot_be_undone_is_refused_on_a_route_with_a_credential() {
    let egress = Bottle::new(serve("content-encoding: compress\r\n", b"zzz")).start(&[with_token("api.test"), route("open.test")]);
    let (status, refusal) = egress.refusal(&["https://api.test/"]);
    assert_eq!((status.as_str(), refusal.reason.slug()), ("502", "upstream_protocol"));
    assert_eq!(egress.fetch(&["https://open.test/"]), "zzz");
    let egress = Bottle::new(serve("content-encoding: gzip\r\n", b"zzz")).start(&[with_token("api.test")]);
    assert!(!egress.curl(&["https://api.test/"]).status.success());
    let event = egress.event(|event| event.event == "refused");
    assert_eq!(event.reason.map(|reason| reason.slug()), Some("upstream_protocol"));
}

// covers: V17
#[test]
fn a_range_on_a_route_with_a_credential_is_cut_out_of_the_blanked_answer() {
    let text = format!("{:049} {TOKEN} {:023}", 0, 1);
    let fields = "etag: \"x\"\r\nlast-modified: Mon, 02 Nov 2026 08:00:00 GMT\r\naccept-ranges: bytes\r\n";
    let egress = Bottle::new(serve(fields, text.as_bytes())).start(&[with_token("api.test")]);
    let blanked = text.replace(TOKEN, &"*".repeat(TOKEN.len()));
    let get = |arguments: &[&str]| {
        let fixed = ["-i", "--suppress-connect-headers", "--http1.1"];
        let text = egress.fetch(&[&fixed, arguments, &["https://api.test/"]].concat());
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let range = head.lines().find_map(|line| line.strip_prefix("content-range: ")).unwrap_or_default().to_owned();
        assert!(!head.contains("accept-ranges"), "{head}");
        (head[9..12].to_owned(), range, body.to_owned())
    };
    let part = |from: usize, to: usize| ("206".to_owned(), format!("bytes {from}-{to}/100"), blanked[from..=to].to_owned());
    let all = ("200".to_owned(), String::new(), blanked.clone());
    // In no part does the agent see what another part would complete.
    for at in 50..76 {
        assert_eq!(get(&["-r", &format!("{at}-{}", at + 3)]), part(at, at + 3));
    }
    assert_eq!(get(&["-r", "50-"]), part(50, 99));
    assert_eq!(get(&["-r", "-10"]), part(90, 99));
    assert_eq!(get(&["-r", "90-1000", "-H", "if-range: \"x\""]), part(90, 99));
    assert_eq!(get(&["-r", "90-", "-H", "if-range: \"y\""]), all);
    assert_eq!(get(&["-r", "90-", "-H", "if-range: W/\"x\""]), all);
    assert_eq!(get(&["-r", "0-1,5-6"]), all);
    assert_eq!(get(&["-r", "100-"]), ("416".to_owned(), "bytes */100".to_owned(), String::new()));
    assert!(egress.stub().arrived().iter().all(|arrived| arrived.field("range").is_none() && arrived.field("if-range").is_none()));
}

// covers: S11
#[test]
fn a_redirect_is_the_agents_to_follow_and_is_judged_anew() {
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let target = |arrived: &str| match arrived.contains("//api.test/") {
            true => answer(status, &[("location", "https://other.test/landed")], ""),
            false => answer("200 OK", &[], "landed"),
        };
        let answers = [target("//api.test/"), target("")];
        let egress = Bottle::new(script(move |arrived, stream| {
            let text = if arrived.line.contains("//api.test/") { &answers[0] } else { &answers[1] };
            stream.write_all(text.as_bytes()).is_ok()
        }))
        .start(&[with_token("api.test"), route("other.test")]);
        assert_eq!(egress.fetch(&["https://api.test/"]), "", "the proxy does not follow");
        assert_eq!(egress.stub().arrived().len(), 1);
        assert_eq!(egress.fetch(&["-L", "https://api.test/"]), "landed");
        let last = egress.stub().last();
        assert_eq!((last.line.as_str(), last.field("authorization")), ("GET https://other.test/landed HTTP/1.1", None), "{status}");
    }
}

// covers: H20
#[test]
fn an_agent_that_checks_nothing_is_read_all_the_same_and_one_that_pins_fails() {
    let egress = Bottle::new(always(answer("200 OK", &[], "hello"))).start(&[route("open.test")]);
    assert_eq!(egress.fetch(&["-k", "--data", "canary", "https://open.test/"]), "hello");
    assert_eq!(egress.stub().last().body, b"canary");
    let other = egress.bottle.path("other.pem");
    std::fs::write(&other, crate::support::authority().0).unwrap();
    let pinned = egress.curl(&["--cacert", other.to_str().unwrap(), "https://open.test/"]);
    assert_eq!(pinned.status.code(), Some(60), "curl's code for a certificate that it does not trust");
    assert_eq!(egress.stub().arrived().len(), 1);
    let event = egress.event(|event| event.event == "error");
    assert!(event.message.unwrap().contains("UnknownCA"));
}

// covers: Y08
#[test]
fn clients_find_the_proxy_in_their_environment() {
    let egress = Bottle::new(always(answer("200 OK", &[], "hello"))).start(&[with_token("api.test"), route("open.test")]);
    let proxy = format!("http://{}", egress.address);
    let python = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode(), end='')";
    for (program, before) in [("curl", &["-sS", "-q"][..]), ("python3", &["-c", python])] {
        for name in ["http_proxy", "https_proxy"] {
            let scheme = name.trim_end_matches("_proxy");
            let output = std::process::Command::new(program)
                .env_clear()
                .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
                .env(name, &proxy)
                .env("SSL_CERT_FILE", egress.bottle.path("ca/cert.pem"))
                .args(before)
                .arg(format!("{scheme}://api.test/"))
                .output()
                .unwrap_or_else(|_| panic!("{program} is needed by this test"));
            assert_eq!(String::from_utf8_lossy(&output.stdout), "hello", "{program} {name}: {}", String::from_utf8_lossy(&output.stderr));
            let expected = (scheme == "https").then(|| format!("Bearer {TOKEN}"));
            assert_eq!(egress.stub().last().field("authorization"), expected.as_deref(), "{program} {name}");
        }
    }
}
