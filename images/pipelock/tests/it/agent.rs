//! The agent dials pipelock itself: interception by its own authority, and none of a sibling's rights.

use std::sync::Arc;

use bottle_wire::LeafAuthority;
use http::Response;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::origin::text;
use crate::support::{DEADLINE, Origin, Pipelock, SECRET, config_for, told};

fn authority() -> (LeafAuthority, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "bottle test");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = params.self_signed(&key).unwrap().pem();
    (LeafAuthority::from_pem(&certificate, &key.serialize_pem()).unwrap(), certificate)
}

async fn connect(pipelock: &Pipelock, target: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(pipelock.agent).await.unwrap();
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(DEADLINE, stream.read_u8()).await.expect("a head in time").unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

/// Sends a request inside intercepted TLS, and reads to the end.
async fn inside(pipelock: &Pipelock, authority: &str, request: &str) -> String {
    let (stream, head) = connect(pipelock, "a.test:443").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(bottle_wire::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("a.test").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("an end in time");
    String::from_utf8(answer).unwrap()
}

// covers: A02
#[tokio::test]
async fn what_the_agent_says_inside_tls_is_judged_and_scanned() {
    let origin = Origin::start(true, |_| async { Response::new(text("fine")) }).await;
    let (leaves, pem) = authority();
    let pipelock = Pipelock::facing(config_for("a.test", &origin), Some(leaves));
    let request = |line: &str, fields: &str| format!("{line} HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n");
    let answer = inside(&pipelock, &pem, &request("GET /", "")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("fine"), "{answer}");
    assert_eq!(told(&pipelock.event().await), ("request", Some(200), None, None));

    // The agent cannot claim a sibling's exemption.
    let fields = format!("x-bottle-injected: authorization\r\nx-bottle-request-id: forged\r\nauthorization: Bearer {SECRET}\r\n");
    let answer = inside(&pipelock, &pem, &request("GET /", &fields)).await;
    assert!(answer.starts_with("HTTP/1.1 422") && answer.contains("secret_detected"), "{answer}");
    let event = pipelock.event().await;
    assert_eq!(told(&event), ("refused", Some(422), Some("secret_detected"), Some("header:authorization")));
    assert_ne!(event.request_id.as_deref(), Some("forged"));

    for (line, fields) in [
        ("GET /acme/app.git/info/refs?service=git-receive-pack", ""),
        ("GET /acme/app.git/info/refs?x;%73ervice=git%2Dreceive-pack", ""),
        ("POST /acme/app.git/git-receive-pack;x=1", "Content-Length: 0\r\n"),
        ("POST /acme/app.git/git-receive-pack%3Bx", "Content-Length: 0\r\n"),
        ("POST /x", "Content-Type: text/plain, Application/x-git-receive-pack-request\r\nContent-Length: 0\r\n"),
    ] {
        let answer = inside(&pipelock, &pem, &request(line, fields)).await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("git_push_bypass"), "{line}: {answer}");
        assert!(answer.contains("http://git-gate:9420/"), "{answer}");
    }
    let answer = inside(&pipelock, &pem, &request("GET /search?q=git-receive-pack", "")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(origin.count(), 2);
}

// covers: N15 H11
#[tokio::test]
async fn the_agent_gets_no_opaque_tunnel_and_no_way_back_in() {
    let origin = Origin::start(false, |_| async { Response::new(text("fine")) }).await;
    let (leaves, _) = authority();
    let mut config = config_for("a.test", &origin);
    config.api_allowlist.push("*".parse().unwrap());
    config.x_bottle.tunnels = vec![serde_json::from_value(serde_json::json!({"host": "a.test", "port": 22})).unwrap()];
    let pipelock = Pipelock::facing(config, Some(leaves));
    let own = format!("127.0.0.1:{}", pipelock.agent.port());
    for (target, reason) in [
        ("a.test:22", "port_not_listed"),
        ("pipelock:8888", "self_request"),
        ("localhost:22", "self_request"),
        ("metadata.google.internal:80", "metadata_address"),
        (&own, "port_not_listed"),
    ] {
        let (_, head) = connect(&pipelock, target).await;
        assert!(head.starts_with("HTTP/1.1 403") && head.contains(reason), "{target}: {head}");
    }
    let (mut stream, head) = connect(&pipelock, "a.test:443").await;
    assert!(head.starts_with("HTTP/1.1 200"));
    stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("an end in time");
    assert!(String::from_utf8_lossy(&rest).contains("opaque_tunnel"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(origin.connections(), 0);
}
