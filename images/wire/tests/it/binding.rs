//! Which origin a request is for: CONNECT, TLS server name, target and Host must name the same.

use bottle_wire::Peer;

use crate::support::{Lab, Setup, ask};

/// How an agent may write an origin, and which one it then names, if any.
const CONNECTS: [(&str, Option<(&str, u16)>); 9] = [
    ("a.test:443", Some(("a.test", 443))),
    ("A.TEST:443", Some(("a.test", 443))),
    ("a.test.:443", Some(("a.test", 443))),
    ("a.test:8443", Some(("a.test", 8443))),
    ("b.test:443", Some(("b.test", 443))),
    ("127.0.0.1:443", Some(("127.0.0.1", 443))),
    ("[::1]:443", Some(("[::1]", 443))),
    ("xn--bcher-kva.test:443", Some(("xn--bcher-kva.test", 443))),
    ("x.a.test:443", Some(("x.a.test", 443))),
];

const NAMES: [Option<&str>; 5] = [None, Some("a.test"), Some("A.Test"), Some("b.test"), Some("xn--bcher-kva.test")];

const HOSTS: [(&str, Option<(&str, u16)>); 18] = [
    ("a.test", Some(("a.test", 443))),
    ("a.test:443", Some(("a.test", 443))),
    ("A.tesT.", Some(("a.test", 443))),
    ("a.test:8443", Some(("a.test", 8443))),
    ("a.test:80", Some(("a.test", 80))),
    ("b.test", Some(("b.test", 443))),
    ("127.0.0.1", Some(("127.0.0.1", 443))),
    ("[::1]", Some(("[::1]", 443))),
    ("[0:0::1]:443", Some(("[::1]", 443))),
    ("xn--bcher-kva.test", Some(("xn--bcher-kva.test", 443))),
    ("", None),
    ("a.test:", None),
    ("a.test:0443", None),
    ("x@a.test", None),
    ("a.test b.test", None),
    ("a.test,b.test", None),
    ("127.1", None),
    ("a.test/", None),
];

const TARGETS: [(&str, Option<(&str, u16)>); 4] = [
    ("/", Some(("", 0))),
    ("https://a.test/", Some(("a.test", 443))),
    ("https://b.test:443/", Some(("b.test", 443))),
    ("http://a.test/", None),
];

// covers: H01
#[tokio::test(flavor = "multi_thread")]
async fn only_a_request_that_names_one_origin_everywhere_passes() {
    let lab = Lab::start(Setup::default());
    let (mut passed, mut refused) = (0, 0);
    for (connect, promised) in CONNECTS {
        for name in NAMES {
            let is_address = promised.is_some_and(|(host, _)| host.starts_with(['1', '[']));
            let name_fits = match name {
                None => is_address,
                Some(name) => promised.is_some_and(|(host, _)| host == name.to_ascii_lowercase()),
            };
            for (host, said) in HOSTS {
                for (target, asked) in TARGETS {
                    let mut stream = lab.tls(connect, name, &["http/1.1"]).await.unwrap();
                    let answer = ask(&mut stream, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
                    let row = format!("CONNECT {connect}, SNI {name:?}, {target}, Host {host}");
                    if name_fits && said == promised && (target == "/" || asked == promised) {
                        let (host, port) = promised.unwrap();
                        let authority = if port == 443 { host.to_owned() } else { format!("{host}:{port}") };
                        assert_eq!((answer.status, answer.body), (200, format!("GET https://{authority}/")), "{row}");
                        passed += 1;
                    } else {
                        let verdict = (answer.status, answer.reason());
                        let known = [(421, Some("origin_mismatch")), (400, Some("ambiguous_target")), (400, Some("malformed_request"))];
                        assert!(known.contains(&verdict), "{row}: {verdict:?}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert_eq!((passed, lab.forwarded().len()), (lab.forwarded().len(), passed));
    assert!(passed == 44 && refused > 3000, "{passed} {refused}");
}

// covers: H01
#[tokio::test(flavor = "multi_thread")]
async fn a_connect_target_is_host_and_port_and_nothing_else() {
    let lab = Lab::start(Setup::default());
    for (target, status, reason) in [
        ("a.test", 400, "ambiguous_target"),
        ("a.test:", 400, "ambiguous_target"),
        ("a.test:0443", 400, "ambiguous_target"),
        ("a.test:99999", 400, "ambiguous_target"),
        ("user@a.test:443", 400, "ambiguous_target"),
        ("2130706433:443", 400, "ambiguous_target"),
        ("127.1:443", 400, "ambiguous_target"),
        ("[::1:443", 400, "malformed_request"),
        ("https://a.test:443", 400, "ambiguous_target"),
        ("https://a.test:443/", 400, "ambiguous_target"),
        ("/", 400, "ambiguous_target"),
        ("denied.test:8443", 403, "host_not_listed"),
        ("localhost:22", 403, "self_request"),
        ("supervise:9100", 403, "self_request"),
        ("127.0.0.1:9099", 403, "self_request"),
        ("[::ffff:127.0.0.1]:8888", 403, "self_request"),
    ] {
        let answer = lab.connect(target).await.err().unwrap_or_else(|| panic!("{target} passed"));
        assert_eq!((answer.status, answer.reason()), (status, Some(reason)), "{target}");
    }
    let mut stream = lab.dial().await;
    let answer = ask(&mut stream, "CONNECT a.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n").await;
    assert_eq!((answer.status, answer.reason()), (421, Some("origin_mismatch")));
    let mut stream = lab.dial().await;
    assert_eq!(ask(&mut stream, "CONNECT a.test:443 HTTP/1.0\r\n\r\n").await.status, 200, "as old Python asks");
    assert_eq!(lab.forwarded(), []);
}

// covers: H03 N15 V07
#[tokio::test(flavor = "multi_thread")]
async fn plain_http_names_its_origin_in_absolute_form() {
    let lab = Lab::start(Setup::default());
    for (target, host, outcome) in [
        ("http://a.test/x?y", "a.test", Ok("GET http://a.test/x?y")),
        ("http://A.test:80/x", "a.test:80", Ok("GET http://a.test/x")),
        ("http://a.test", "a.test", Ok("GET http://a.test/")),
        ("http://a.test?x", "a.test", Ok("GET http://a.test/?x")),
        ("http://a.test:8080/x", "a.test:8080", Ok("GET http://a.test:8080/x")),
        ("http://a.test:8080/x", "a.test", Err((421, "origin_mismatch"))),
        ("http://a.test/x", "b.test", Err((421, "origin_mismatch"))),
        ("http://a.test/x", "", Err((400, "ambiguous_target"))),
        ("http://a.test/x", "u@a.test", Err((400, "ambiguous_target"))),
        ("http://u@a.test/x", "a.test", Err((400, "ambiguous_target"))),
        ("http://a.test@b.test/x", "b.test", Err((400, "ambiguous_target"))),
        ("http://a.test/x", "a.test b.test", Err((400, "ambiguous_target"))),
        ("http://a.test/x", "a.test,a.test", Err((400, "ambiguous_target"))),
        ("http://2130706433/x", "2130706433", Err((400, "ambiguous_target"))),
        // As axios asks: TLS is the proxy's, all else is as behind CONNECT.
        ("https://a.test/x", "a.test", Ok("GET https://a.test/x")),
        ("https://a.test:443/x", "a.test:443", Ok("GET https://a.test/x")),
        ("https://a.test:8443/x", "a.test:8443", Ok("GET https://a.test:8443/x")),
        ("https://a.test/x", "b.test", Err((421, "origin_mismatch"))),
        ("https://a.test/x", "a.test:80", Err((421, "origin_mismatch"))),
        ("https://localhost/x", "localhost", Err((403, "self_request"))),
        ("ftp://a.test/x", "a.test", Err((400, "ambiguous_target"))),
        ("/x", "a.test", Err((403, "self_request"))),
        ("/x", "localhost", Err((403, "self_request"))),
        ("http://egress:9099/x", "egress:9099", Err((403, "self_request"))),
        ("http://git-gate:9420/x", "git-gate:9420", Err((403, "self_request"))),
        ("http://127.0.0.1:9100/x", "127.0.0.1:9100", Err((403, "self_request"))),
        ("http://0.0.0.0:9100/x", "0.0.0.0:9100", Err((403, "self_request"))),
        ("http://x.localhost/x", "x.localhost", Err((403, "self_request"))),
    ] {
        let mut stream = lab.dial().await;
        let answer = ask(&mut stream, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        match outcome {
            Ok(line) => assert_eq!((answer.status, answer.body.as_str()), (200, line), "{target} {host}"),
            Err((status, reason)) => assert_eq!((answer.status, answer.reason()), (status, Some(reason)), "{target} {host}"),
        }
    }
}

// covers: H12 V36 V45
#[tokio::test(flavor = "multi_thread")]
async fn what_is_judged_is_what_is_sent() {
    let lab = Lab::start(Setup::default());
    for (path, sent) in [
        ("/v1/%41%7e?q=%41 ", None),
        ("/v1/%41%7e?q=%41", Some("/v1/A~?q=%41")),
        ("/@s%2fn", Some("/@s%2Fn")),
        ("/v1/../admin", None),
        ("/v1/%2e%2e/admin", None),
        ("/v1/..%2fadmin", None),
        ("/v1/%252e%252e/admin", None),
        ("/v1/..;/admin", None),
        ("/v1\\..\\admin", None),
        ("/v1/%5cadmin", None),
        ("/v1/%00", None),
        ("//evil.test/", Some("//evil.test/")),
        ("/caf\u{e9}?q=\u{e9}", Some("/caf%C3%A9?q=%C3%A9")),
        ("/a?q=\"x\"", None),
        ("/a\"x", None),
        ("*", None),
        ("/a?b#c", None),
        ("/a?b=\u{7f}", None),
        ("/a?http://b.test/", Some("/a?http://b.test/")),
    ] {
        let mut stream = lab.tls("a.test:443", Some("a.test"), &[]).await.unwrap();
        let answer = ask(&mut stream, &format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
        match sent {
            Some(sent) => assert_eq!((answer.status, answer.body), (200, format!("GET https://a.test{sent}")), "{path}"),
            None => assert_eq!((answer.status, answer.body.contains("hint")), (400, true), "{path}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sibling_names_https_targets_and_its_notes_are_kept() {
    let lab = Lab::start(Setup { peer: Peer::Sibling, ..Setup::default() });
    let mut stream = lab.dial().await;
    let notes = "x-bottle-request-id: 0a-7\r\nx-bottle-injected: authorization\r\n";
    let answer = ask(&mut stream, &format!("GET https://a.test/x HTTP/1.1\r\nHost: a.test\r\n{notes}\r\n")).await;
    assert_eq!(answer.body, "GET https://a.test/x");
    let fields = ["host: a.test", "x-bottle-injected: authorization", "x-bottle-request-id: 0a-7"];
    assert_eq!(lab.forwarded()[0].fields, fields);
    let event = lab.event(|event| event.event == "request");
    assert_eq!(event.request_id.as_deref(), Some("0a-7"));
}
