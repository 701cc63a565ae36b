//! Deadlines and numbers of connections.

use bottle_wire::{Limits, Reason};
use tokio::io::AsyncWriteExt;

use crate::support::{Lab, Setup, ask, read_answer, to_end};

fn hurried(limits: Limits) -> Setup {
    Setup { limits, ..Setup::default() }
}

// covers: H07
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_end_in_time_is_told_so() {
    let lab = Lab::start(hurried(Limits { head_ms: 300, ..Limits::default() }));
    let mut stream = lab.dial().await;
    stream.write_all(b"GET http://a.test/ HTTP/1.1\r\nHost: a").await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert_eq!((answer.status, answer.reason()), (408, Some("too_slow")));
    assert_eq!(lab.event(|event| event.event == "refused").reason, Some(Reason::TooSlow));
    // A connection that says nothing, and one that has said enough, just end.
    assert_eq!(to_end(&mut lab.dial().await).await, "");
    let mut kept = lab.dial().await;
    assert_eq!(ask(&mut kept, "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n").await.status, 200);
    assert_eq!(to_end(&mut kept).await, "");
    let mut h2 = lab.tls("a.test:443", Some("a.test"), &["h2"]).await.unwrap();
    h2.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    to_end(&mut h2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_end_in_time_ends_the_tunnel() {
    let lab = Lab::start(hurried(Limits { handshake_ms: 300, ..Limits::default() }));
    for half in [&b""[..], b"\x16", b"\x16\x03\x01\x02\0\x01"] {
        let mut stream = lab.connect("a.test:443").await.unwrap();
        stream.write_all(half).await.unwrap();
        to_end(&mut stream).await;
        assert_eq!(lab.event(|event| event.event == "refused").reason, Some(Reason::TooSlow));
    }
}

// covers: X08
#[tokio::test(flavor = "multi_thread")]
async fn a_surplus_connection_is_told_so_and_the_next_one_after_it_served() {
    let lab = Lab::start(hurried(Limits { connections: 2, ..Limits::default() }));
    let get = "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let (mut first, second) = (lab.dial().await, lab.tls("a.test:443", Some("a.test"), &[]).await.unwrap());
    assert_eq!(ask(&mut first, get).await.status, 200);
    let answer = read_answer(&mut lab.dial().await).await;
    assert_eq!((answer.status, answer.reason()), (429, Some("too_many")));
    drop(second);
    loop {
        // The tunnel's end is seen a moment later.
        let answer = ask(&mut lab.dial().await, get).await;
        if answer.status == 200 {
            break;
        }
        assert_eq!(answer.status, 429);
    }
}
