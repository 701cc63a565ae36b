//! Origins whose certificates or versions do not hold: 502 with the reason in words, and never an answer.

use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::origin::{Shown, text};
use crate::support::sibling::{empty, get, once};
use crate::support::{Origin, Pipelock, config_for, told};

async fn secret_page(_: http::Request<hyper::body::Incoming>) -> crate::support::origin::Answer {
    Response::new(text("should not be seen"))
}

// covers: H19
#[tokio::test]
async fn a_certificate_that_does_not_hold_is_refused_in_words() {
    let names = |names: &[&str]| Shown { names: names.iter().map(ToString::to_string).collect(), ..Shown::default() };
    for (shown, words) in [
        (Shown { years: (2020, 2021), ..Shown::default() }, "has expired"),
        (Shown { years: (2080, 2090), ..Shown::default() }, "is not valid yet"),
        (Shown { self_signed: true, ..Shown::default() }, "authority that is not trusted, or by itself"),
        (Shown { for_servers: false, ..Shown::default() }, "is not for servers"),
        (names(&["b.test"]), "for another name"),
        (names(&["*.a.test"]), "for another name"),
        (names(&["*"]), "certificate"),
        (names(&["test"]), "for another name"),
    ] {
        let origin = Origin::showing(&shown, &[b"http/1.1"], secret_page).await;
        let pipelock = Pipelock::start(config_for("a.test", &origin));
        let (status, refusal) = once(&pipelock, get("https://a.test/").body(empty()).unwrap()).await.refusal();
        assert_eq!((status, refusal.reason.slug()), (502, "upstream_tls"), "{shown:?}");
        assert!(refusal.message.contains(words), "{shown:?}: {}", refusal.message);
        assert_eq!(told(&pipelock.event().await), ("refused", Some(502), Some("upstream_tls"), Some("upstream")));
        assert_eq!(origin.count(), 0);
    }
}

// covers: H19
#[tokio::test]
async fn a_certificate_of_a_thousand_names_holds_for_each() {
    let shown = Shown { names: (0..1000).map(|i| format!("n{i}.test")).collect(), ..Shown::default() };
    let origin = Origin::showing(&shown, &[b"http/1.1"], secret_page).await;
    let pipelock = Pipelock::start(config_for("*.test", &origin));
    assert_eq!(once(&pipelock, get("https://n999.test/").body(empty()).unwrap()).await.told().0, 200);
    let (_, refusal) = once(&pipelock, get("https://n1000.test/").body(empty()).unwrap()).await.refusal();
    assert_eq!(refusal.reason.slug(), "upstream_tls");
}

// covers: H19
#[tokio::test]
async fn what_is_no_tls_that_is_still_safe_is_refused() {
    // A fatal protocol_version alert, as a server answers that knows TLS 1.0 alone (RFC 8446, section 6).
    let alert: &[u8] = &[0x15, 3, 1, 0, 2, 2, 70];
    // A ServerHello of TLS 1.0 with TLS_RSA_WITH_NULL_SHA.
    let mut hello = vec![0x16, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0]);
    for (name, bytes) in [("old server's alert", alert.to_vec()), ("TLS 1.0", hello), ("plain HTTP", b"HTTP/1.1 200 OK\r\n\r\n".to_vec())] {
        let origin = Origin::raw(move |mut stream| {
            let bytes = bytes.clone();
            async move {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(&bytes).await;
                let _ = stream.read(&mut buffer).await;
            }
        })
        .await;
        let pipelock = Pipelock::start(config_for("a.test", &origin));
        let (status, refusal) = once(&pipelock, get("https://a.test/").body(empty()).unwrap()).await.refusal();
        assert_eq!((status, refusal.reason.slug()), (502, "upstream_tls"), "{name}: {}", refusal.message);
    }
}
