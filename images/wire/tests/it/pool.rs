//! Connections that are kept for the next request.

use std::sync::Arc;
use std::time::Duration;

use bottle_wire::client::pool::{Failure, Pool};
use bottle_wire::client::sender::{NewConnection, Protocol};
use bottle_wire::{AccessLog, Body, body};
use http::Request;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(10);

/// What the other ends hear, in order: the number of the connection, and a request line or nothing at its end.
type Heard = (usize, Option<String>);

/// Makes connections whose other ends answer each request, and tells what they hear.
struct Origin {
    made: std::sync::atomic::AtomicUsize,
    hears: UnboundedSender<Heard>,
}

impl Origin {
    fn new() -> (Self, UnboundedReceiver<Heard>) {
        let (hears, heard) = unbounded_channel();
        (Self { made: 0.into(), hears }, heard)
    }

    fn dial(&self) -> NewConnection<DuplexStream> {
        let number = self.made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let (near, far) = duplex(64 << 10);
        tokio::spawn(answer(number, far, self.hears.clone()));
        NewConnection { stream: near, address: Some(format!("192.0.2.{number}:80").into()), protocol: Protocol::Http1 }
    }
}

async fn answer(number: usize, mut stream: DuplexStream, hears: UnboundedSender<Heard>) {
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if head.ends_with(b"\r\n\r\n") {
            let line = String::from_utf8(std::mem::take(&mut head)).unwrap().lines().next().unwrap().to_owned();
            let _ = hears.send((number, Some(line)));
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    }
    let _ = hears.send((number, None));
}

/// Asks for a path of a target; the answer's body, and the address that was noted.
async fn ask(pool: &Arc<Pool<u8, Body>>, origin: &Origin, target: u8, path: &str) -> (String, Option<String>) {
    let notes = AccessLog::default();
    let request = Request::get(path).body(body::empty()).unwrap();
    let response = pool.send(target, request, &notes, async || Ok::<_, Failure>(origin.dial())).await.unwrap();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    (String::from_utf8(text.to_vec()).unwrap(), notes.entry().dialled)
}

fn line(number: usize, path: &str) -> Option<Heard> {
    Some((number, Some(format!("GET {path} HTTP/1.1"))))
}

#[tokio::test]
async fn a_connection_serves_its_target_again_and_no_other() {
    let (origin, mut heard) = Origin::new();
    let pool = Pool::new(DEADLINE);
    for (target, path, number) in [(1, "/a", 0), (1, "/b", 0), (2, "/c", 1), (1, "/d", 0), (2, "/e", 1)] {
        let told = ask(&pool, &origin, target, path).await;
        assert_eq!(told, ("ok".to_owned(), Some(format!("192.0.2.{number}:80"))), "{path}");
        assert_eq!(heard.recv().await, line(number, path));
    }
}

#[tokio::test]
async fn what_nobody_uses_is_closed_and_the_next_request_gets_a_new_one() {
    let (origin, mut heard) = Origin::new();
    let pool = Pool::new(Duration::from_millis(100));
    for number in 0..2 {
        ask(&pool, &origin, 1, "/a").await;
        assert_eq!(heard.recv().await, line(number, "/a"));
        assert_eq!(timeout(DEADLINE, heard.recv()).await, Ok(Some((number, None))));
    }
}

#[tokio::test]
async fn with_the_pool_its_unused_connections_are_closed() {
    let (origin, mut heard) = Origin::new();
    let pool = Pool::new(Duration::from_secs(3600));
    ask(&pool, &origin, 1, "/a").await;
    assert_eq!(heard.recv().await, line(0, "/a"));
    drop(pool);
    assert_eq!(timeout(DEADLINE, heard.recv()).await, Ok(Some((0, None))));
}
