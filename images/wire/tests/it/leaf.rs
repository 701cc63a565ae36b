//! Leaf certificates, as OpenSSL sees them.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Lab, Setup};

fn openssl(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is needed by this test");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn first_certificate(text: &str) -> String {
    let start = text.find("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("{text}"));
    let end = text.find("-----END CERTIFICATE-----").unwrap();
    format!("{}-----END CERTIFICATE-----\n", &text[start..end])
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_trusts_a_leaf_in_every_strictness() {
    let lab = Lab::start(Setup::default());
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, &lab.ca).unwrap();
    let (ca, proxy) = (ca.to_str().unwrap(), lab.address.to_string());
    let long = format!("{}.{}.test", "a".repeat(60), "b".repeat(60));
    for (connect, name, check, alpn) in [
        ("a.test:443", Some("a.test"), ["-verify_hostname", "a.test"], "h2"),
        ("127.0.0.1:443", None, ["-verify_ip", "127.0.0.1"], "http/1.1"),
        (&format!("{long}:443"), Some(long.as_str()), ["-verify_hostname", long.as_str()], "h2,http/1.1"),
    ] {
        let mut arguments = vec!["s_client", "-proxy", &proxy, "-connect", connect, "-CAfile", ca, "-verify_return_error", "-x509_strict"];
        arguments.extend(["-purpose", "sslserver", "-showcerts", "-alpn", alpn]);
        arguments.extend(check);
        match name {
            Some(name) => arguments.extend(["-servername", name]),
            None => arguments.push("-noservername"),
        }
        let text = tokio::task::block_in_place(|| openssl(&arguments, ""));
        assert!(text.contains("Verify return code: 0 (ok)"), "{connect}: {text}");
        assert!(text.contains(&format!("ALPN protocol: {}", alpn.split(',').next().unwrap())), "{connect}: {text}");
        let leaf = first_certificate(&text);
        let shown = tokio::task::block_in_place(|| openssl(&["x509", "-noout", "-text"], &leaf));
        assert!(shown.contains("TLS Web Server Authentication") && shown.contains("ASN1 OID: prime256v1"), "{shown}");
        let after = |label: &str| {
            let at = shown.find(label).unwrap_or_else(|| panic!("no {label}: {shown}"));
            shown[at..].lines().nth(1).unwrap().trim().to_owned()
        };
        let issuer = tokio::task::block_in_place(|| openssl(&["x509", "-noout", "-ext", "subjectKeyIdentifier"], &lab.ca));
        assert_eq!(after("Authority Key Identifier").trim_start_matches("keyid:"), issuer.lines().nth(1).unwrap().trim());
        assert_ne!(after("Subject Key Identifier"), after("Authority Key Identifier"));
        let subject = shown.lines().find(|line| line.trim_start().starts_with("Subject:")).unwrap();
        assert_eq!(subject.contains("CN"), connect.len() < 64, "{subject}");
    }
}

// covers: H22
#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_that_we_do_not_speak_ends_in_a_clean_alert() {
    let lab = Lab::start(Setup::default());
    let h2 = lab.tls("a.test:443", Some("a.test"), &["h2"]).await.unwrap();
    assert_eq!(h2.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let none = lab.tls("a.test:443", Some("a.test"), &[]).await.unwrap();
    assert_eq!(none.get_ref().1.alpn_protocol(), None);
    let error = lab.tls("a.test:443", Some("a.test"), &["spdy/3"]).await.unwrap_err();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    let event = lab.event(|event| event.event == "error");
    assert_eq!(event.origin.as_deref(), Some("https://a.test"));
    assert!(event.message.unwrap().starts_with("the agent's TLS handshake failed: "));
}

// covers: H21
#[tokio::test(flavor = "multi_thread")]
async fn the_leaves_that_are_kept_are_bounded() {
    let lab = Lab::start(Setup::default());
    for i in 0..1100 {
        let host = format!("{}h{i}.test", if i % 2 == 0 { "" } else { "denied." });
        lab.tls(&format!("{host}:443"), Some(&host), &[]).await.unwrap();
    }
    assert_eq!(lab.authority.cached(), 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_refused_has_a_leaf_where_its_refusal_is_told_and_nowhere_else() {
    let lab = Lab::start(Setup::default());
    assert_eq!(lab.tls("denied.test:8443", Some("denied.test"), &[]).await.unwrap_err(), "403");
    assert_eq!(lab.authority.cached(), 0);
    lab.tls("denied.test:443", Some("other.test"), &[]).await.unwrap();
    assert_eq!(lab.authority.cached(), 1);
}

// covers: H23
#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_resumed_and_no_ticket_is_given() {
    let lab = Lab::start(Setup::default());
    let proxy = lab.address.to_string();
    let connect = ["s_client", "-proxy", &proxy, "-connect", "a.test:443", "-servername", "a.test"];
    let old = tokio::task::block_in_place(|| openssl(&[&connect[..], &["-tls1_2", "-reconnect"]].concat(), ""));
    assert!(old.contains("New, TLSv1.2") && !old.contains("Reused, ") && !old.contains("session ticket:"), "{old}");
    assert!(old.contains("Secure Renegotiation IS supported"), "{old}");
    let new = tokio::task::block_in_place(|| openssl(&[&connect[..], &["-tls1_3"]].concat(), "GET / HTTP/1.0\r\nHost: a.test\r\n\r\n"));
    assert!(new.contains("New, TLSv1.3") && !new.contains("New Session Ticket"), "{new}");
    for version in ["-tls1", "-tls1_1"] {
        let refused = tokio::task::block_in_place(|| openssl(&[&connect[..], &[version, "-cipher", "ALL:@SECLEVEL=0"]].concat(), ""));
        assert!(refused.contains("Cipher is (NONE)"), "{refused}");
    }
}
