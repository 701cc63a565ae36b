//! HTTP/2, well spoken and not.

use std::time::Instant;

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::{DEADLINE, Lab, Setup, ask, tls_client};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn intercepted(lab: &Lab) -> TlsStream<TcpStream> {
    lab.tls("a.test:443", Some("a.test"), &["h2"]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_of_one_connection_are_each_forwarded() {
    let lab = Lab::start(Setup::default());
    let (client, connection) = h2::client::handshake(intercepted(&lab).await).await.unwrap();
    tokio::spawn(connection);
    let mut answers = Vec::new();
    for n in 0..50 {
        let mut client = client.clone().ready().await.unwrap();
        let request = Request::post(format!("https://a.test/{n}")).header("cookie", "a=b").header("cookie", "c=d").body(()).unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"hello"), true).unwrap();
        answers.push(answer);
    }
    for answer in answers {
        let mut answer = tokio::time::timeout(DEADLINE, answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        answer.body_mut().data().await.unwrap().unwrap();
    }
    let forwarded = lab.forwarded();
    assert_eq!(forwarded.len(), 50);
    assert!(forwarded.iter().all(|f| &f.body[..] == b"hello"));
    assert_eq!(forwarded[0].fields, ["cookie: a=b; c=d", "host: a.test"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_over_http2_opens_a_tunnel_too() {
    let lab = Lab::start(Setup::default());
    let (client, connection) = h2::client::handshake(lab.dial().await).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let connect = |target: &str| Request::builder().method("CONNECT").uri(target).body(()).unwrap();
    let (answer, _) = client.send_request(connect("denied.test:22"), false).unwrap();
    assert_eq!(answer.await.unwrap().status(), 403);
    let (answer, send) = client.send_request(connect("a.test:443"), false).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    let tunnel = Tunnel { send, receive: answer.into_body() };
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(tunnel.join(far));
    let mut stream = tls_client(true, &["http/1.1"]).connect("a.test".try_into().unwrap(), near).await.unwrap();
    assert_eq!(ask(&mut stream, "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").await.body, "GET https://a.test/x");
}

/// A stream of HTTP/2 as a stream of bytes.
struct Tunnel {
    send: h2::SendStream<Bytes>,
    receive: h2::RecvStream,
}

impl Tunnel {
    async fn join(mut self, far: tokio::io::DuplexStream) {
        let (mut read, mut write) = tokio::io::split(far);
        tokio::spawn(async move {
            while let Some(Ok(data)) = self.receive.data().await {
                self.receive.flow_control().release_capacity(data.len()).unwrap();
                write.write_all(&data).await.unwrap();
            }
        });
        let mut room = [0; 4096];
        while let Ok(read @ 1..) = read.read(&mut room).await {
            self.send.send_data(Bytes::copy_from_slice(&room[..read]), false).unwrap();
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Literal header fields without indexing or Huffman coding (RFC 7541, section 6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        assert!(text.len() < 127);
        [&[text.len() as u8], text.as_bytes()].concat()
    };
    fields.iter().flat_map(|(name, value)| [&[0][..], &text(name), &text(value)].concat()).collect()
}

/// What a peer heard: whether the stream or the connection was ended by a frame, or an answer came.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Answer(u16),
    Reset,
    GoAway,
    End,
}

async fn listen(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Heard {
    let heard = async {
        loop {
            let mut header = [0; 9];
            if stream.read_exact(&mut header).await.is_err() {
                return Heard::End;
            }
            let mut payload = vec![0; u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize];
            if stream.read_exact(&mut payload).await.is_err() {
                return Heard::End;
            }
            match header[3] {
                // The first field is `:status`: indexed 8 to 14, or a literal with an indexed name and three digits.
                1 => {
                    let indexed = [200, 204, 206, 304, 400, 404, 500];
                    return Heard::Answer(match payload[0] {
                        byte @ 0x88..=0x8e => indexed[usize::from(byte - 0x88)],
                        _ => {
                            let (huffman, length) = (payload[1] & 0x80 != 0, usize::from(payload[1] & 0x7f));
                            // Huffman's digits are five or six bits long (RFC 7541, appendix B); 4xx are told apart by length.
                            if huffman {
                                400 + length as u16
                            } else {
                                std::str::from_utf8(&payload[2..2 + length]).unwrap().parse().unwrap()
                            }
                        }
                    });
                }
                3 => return Heard::Reset,
                7 => return Heard::GoAway,
                _ => {}
            }
        }
    };
    tokio::time::timeout(DEADLINE, heard).await.expect("nothing was heard")
}

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/")];

// covers: H08 H01
#[tokio::test(flavor = "multi_thread")]
async fn what_http1_would_read_otherwise_is_never_translated() {
    let lab = Lab::start(Setup::default());
    let with = |at: usize, field: (&'static str, &'static str)| {
        let mut fields = GET.to_vec();
        fields.insert(at, field);
        fields
    };
    let instead = |at: usize, value: &'static str| {
        let mut fields = GET.to_vec();
        fields[at].1 = value;
        fields
    };
    let without = |at: usize| {
        let mut fields = GET.to_vec();
        fields.remove(at);
        fields
    };
    let rows = [
        with(4, ("x", "a\r\nsmuggled: 1")),
        with(4, ("x", "a\nb")),
        with(4, ("x", "a\0b")),
        with(4, ("x\r\ny", "1")),
        with(4, ("x y", "1")),
        with(4, ("x:y", "1")),
        with(4, ("X-Upper", "1")),
        with(4, ("", "1")),
        with(4, ("connection", "close")),
        with(4, ("connection", "x-private")),
        with(4, ("keep-alive", "5")),
        with(4, ("proxy-connection", "close")),
        with(4, ("transfer-encoding", "chunked")),
        with(4, ("upgrade", "websocket")),
        with(4, ("te", "gzip")),
        with(4, ("content-length", "5")),
        with(4, ("content-length", "x")),
        with(4, ("host", "b.test")),
        with(4, ("host", "a.test:8443")),
        with(4, (":path", "/late")),
        with(1, (":path", "/twice")),
        with(1, (":method", "POST")),
        with(1, (":authority", "b.test")),
        with(1, (":unknown", "1")),
        with(1, (":status", "200")),
        instead(0, "TRACE"),
        instead(0, "CONNECT"),
        instead(0, "get"),
        instead(0, "GET / HTTP/1.1\r\nx:"),
        instead(0, "!"),
        instead(1, "http"),
        instead(1, "ftp"),
        instead(2, "b.test"),
        instead(2, "a.test:8443"),
        instead(2, "u@a.test"),
        instead(2, ""),
        instead(3, ""),
        instead(3, "/a b"),
        instead(3, "/a\r\nx: y"),
        instead(3, "a"),
        instead(3, "*"),
        instead(3, "https://b.test/"),
        instead(3, "/../x"),
        without(0),
        without(1),
        without(2),
        without(3),
    ];
    for fields in &rows {
        let mut stream = intercepted(&lab).await;
        let message = [PREFACE, &frame(4, 0, 0, &[]), &frame(1, 5, 1, &block(fields))].concat();
        stream.write_all(&message).await.unwrap();
        let heard = listen(&mut stream).await;
        assert!(heard != Heard::Answer(200), "{fields:?}: {heard:?}");
    }
    assert_eq!(lab.forwarded(), []);
    // The rows fail for what they change, not for how they are sent.
    let mut stream = intercepted(&lab).await;
    stream.write_all(&[PREFACE, &frame(4, 0, 0, &[]), &frame(1, 5, 1, &block(&with(4, ("host", "A.test:443"))))].concat()).await.unwrap();
    assert_eq!(listen(&mut stream).await, Heard::Answer(200));
    assert_eq!(lab.forwarded()[0].line, "GET https://a.test/");
}

// covers: H08
#[tokio::test(flavor = "multi_thread")]
async fn data_that_contradicts_content_length_ends_the_stream() {
    let lab = Lab::start(Setup::default());
    for data in ["abcdef", "abc"] {
        let mut stream = intercepted(&lab).await;
        let mut fields = GET.to_vec();
        fields[0].1 = "POST";
        fields.push(("content-length", "5"));
        let message = [PREFACE, &frame(4, 0, 0, &[]), &frame(1, 4, 1, &block(&fields)), &frame(0, 1, 1, data.as_bytes())].concat();
        stream.write_all(&message).await.unwrap();
        let heard = listen(&mut stream).await;
        assert!(heard != Heard::Answer(200), "{heard:?}");
    }
    assert_eq!(lab.forwarded(), []);
}

// covers: H09
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_ends_its_own_connection_and_no_other() {
    let lab = Lab::start(Setup::default());
    let open = || [PREFACE.to_vec(), frame(4, 0, 0, &[])].concat();
    let get = block(&GET);
    let resets =
        |n: u32| (0..n).flat_map(|i| [frame(1, 5, 2 * i + 1, &get), frame(3, 0, 2 * i + 1, &[0, 0, 0, 8])].concat()).collect::<Vec<_>>();
    let continuations = [frame(1, 1, 1, &get), frame(9, 0, 1, &block(&[("x", "y")])).repeat(100_000)].concat();
    let bomb = {
        // One entry of the dynamic table, then thousands of references to it.
        let entry = [&[0x40][..], &[1, b'x'], &[0x7f, 0xa1, 0x1e], &[b'y'; 4000]].concat();
        frame(1, 5, 1, &[get.clone(), entry, vec![0xbe; 10_000]].concat())
    };
    let empty_data = [frame(1, 4, 1, &get), frame(0, 0, 1, &[]).repeat(100_000)].concat();
    for (name, flood) in [
        ("reset", resets(50_000)),
        ("ping", frame(6, 0, 0, &[0; 8]).repeat(100_000)),
        ("settings", frame(4, 0, 0, &[]).repeat(100_000)),
        ("priority", frame(2, 0, 1, &[0, 0, 0, 3, 9]).repeat(100_000)),
        ("window", frame(8, 0, 0, &[0, 0, 0, 0]).repeat(10)),
        ("unknown", frame(0xee, 0, 0, &[]).repeat(100_000)),
        ("continuation", continuations),
        ("hpack", bomb),
        ("empty data", empty_data),
    ] {
        let started = Instant::now();
        let mut stream = intercepted(&lab).await;
        // The flood is not written to its end: the proxy hangs up.
        let _ = stream.write_all(&[open(), flood].concat()).await;
        let heard = listen(&mut stream).await;
        let ended = match name {
            // Answered with 431, and with the stream's reset.
            "hpack" => heard != Heard::Answer(200),
            "reset" | "continuation" | "ping" | "settings" | "priority" | "window" | "unknown" | "empty data" => {
                let mut last = heard;
                while last != Heard::End && last != Heard::GoAway {
                    last = listen(&mut stream).await;
                }
                true
            }
            _ => unreachable!(),
        };
        assert!(ended, "{name}");
        assert!(started.elapsed() < DEADLINE / 4, "{name} took {:?}", started.elapsed());
        let answer = ask(&mut lab.dial().await, "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        assert_eq!(answer.status, 200, "others are served after {name}");
    }
}

// covers: V19
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_h2_resets_has_an_answer_with_a_reason_and_an_event() {
    let lab = Lab::start(Setup::default());
    for path in ["/?q=\"x\"", "/?q=<x>", "/a b", "/%"] {
        let fields = [&GET[..3], &[(":path", path)]].concat();
        let mut stream = intercepted(&lab).await;
        stream.write_all(&[PREFACE, &frame(4, 0, 0, &[]), &frame(1, 5, 1, &block(&fields))].concat()).await.unwrap();
        assert_eq!(listen(&mut stream).await, Heard::Answer(400), "{path}");
        let event = lab.event(|event| event.reason.is_some());
        assert_eq!(event.origin.as_deref(), Some("https://a.test"), "{path}");
        // The connection serves the next request all the same.
        stream.write_all(&frame(1, 5, 3, &block(&GET))).await.unwrap();
        // The rest of the first answer comes before.
        let mut heard = listen(&mut stream).await;
        if heard == Heard::Reset {
            heard = listen(&mut stream).await;
        }
        assert_eq!(heard, Heard::Answer(200), "{path}");
    }
    // The head is one that a client of HTTP/2 can read.
    let (client, connection) = h2::client::handshake(intercepted(&lab).await).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = Request::get("https://a.test/").header("content-length", "5").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    let answer = tokio::time::timeout(DEADLINE, answer).await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["x-bottle-reason"]), (400, &"malformed_request".parse().unwrap()));
    assert!(answer.headers()["x-bottle-message"].to_str().unwrap().contains("percent-encoded"));
    assert!(answer.into_body().data().await.is_none());
}
