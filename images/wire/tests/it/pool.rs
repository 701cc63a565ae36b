//! Connections that are kept for the next request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bottle_wire::client::pool::{Failure, Pool};
use bottle_wire::client::sender::{NewConnection, Protocol};
use bottle_wire::{AccessLog, Body, body};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(10);

/// What the other ends hear, in order: the number of the connection, and a request line or nothing at its end.
type Heard = (usize, Option<String>);

/// Makes connections whose other ends answer each request, and tells what they hear.
struct Origin {
    made: AtomicUsize,
    hears: UnboundedSender<Heard>,
}

impl Origin {
    fn new() -> (Self, UnboundedReceiver<Heard>) {
        let (hears, heard) = unbounded_channel();
        (Self { made: 0.into(), hears }, heard)
    }

    fn dial(&self) -> NewConnection<DuplexStream> {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
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

/// Makes connections to an HTTP/2 origin. Each answers so many requests, and closes without an answer when one more comes.
#[derive(Default)]
struct Http2 {
    made: AtomicUsize,
    answers: usize,
}

impl Http2 {
    fn dial(&self) -> NewConnection<DuplexStream> {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        let (near, far) = duplex(64 << 10);
        let (answers, served, full) = (self.answers, Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let closed = full.clone();
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let (served, full) = (served.clone(), full.clone());
            async move {
                if served.fetch_add(1, Ordering::SeqCst) >= answers {
                    full.notify_one();
                    std::future::pending::<()>().await;
                }
                Ok::<_, std::convert::Infallible>(Response::new(request.uri().to_string()))
            }
        });
        tokio::spawn(async move {
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(far), service);
            tokio::select! { _ = connection => {}, () = closed.notified() => {} }
        });
        NewConnection { stream: near, address: Some(format!("192.0.2.{number}:443").into()), protocol: Protocol::Http2 }
    }

    /// The answer to a request, or none, with the address and the message of its entry in the log.
    async fn ask(&self, pool: &Arc<Pool<u8, Body>>, method: &str) -> (Option<String>, Option<String>, Option<String>) {
        let log = AccessLog::default();
        let request = Request::builder().method(method).uri("https://a.test/x?y").header("host", "a.test").body(body::empty()).unwrap();
        let sent = timeout(DEADLINE, pool.send(1, request, &log, async || Ok::<_, Failure>(self.dial()))).await.unwrap();
        let answer = match sent {
            Ok(response) => Some(String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()),
            Err(_) => None,
        };
        let entry = log.entry();
        (answer, entry.dialled, entry.message)
    }
}

const RETRIED: &str = "sent again: a kept connection was closed without an answer";

#[tokio::test]
async fn requests_over_http_2_share_a_connection_and_name_the_whole_target() {
    let origin = Http2 { answers: 9, ..Http2::default() };
    let pool = Pool::new(DEADLINE);
    for _ in 0..3 {
        let answered = (Some("https://a.test/x?y".to_owned()), Some("192.0.2.0:443".to_owned()), None);
        assert_eq!(origin.ask(&pool, "GET").await, answered);
    }
    assert_eq!(origin.made.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_request_that_a_shared_connection_lost_is_retried_once_over_a_new_one() {
    let origin = Http2 { answers: 1, ..Http2::default() };
    let pool = Pool::new(DEADLINE);
    let answered = |number: usize, message: Option<&str>| {
        (Some("https://a.test/x?y".to_owned()), Some(format!("192.0.2.{number}:443")), message.map(str::to_owned))
    };
    assert_eq!(origin.ask(&pool, "GET").await, answered(0, None));
    assert_eq!(origin.ask(&pool, "GET").await, answered(1, Some(RETRIED)));
    // What an origin would do twice is not sent twice.
    assert_eq!(origin.ask(&pool, "POST").await, (None, Some("192.0.2.1:443".to_owned()), None));
    assert_eq!(origin.made.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_connection_that_never_answered_is_not_tried_twice() {
    let origin = Http2 { answers: 0, ..Http2::default() };
    let pool = Pool::new(DEADLINE);
    assert_eq!(origin.ask(&pool, "GET").await, (None, Some("192.0.2.0:443".to_owned()), None));
    assert_eq!(origin.made.load(Ordering::SeqCst), 1);
}
