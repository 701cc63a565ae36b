//! Answers that are produced over time.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, TRAILER};
use hyper::{Response, StatusCode};

use crate::exchange::{Arrival, Body, failure};
use crate::release::Releases;

/// Byte `i` of a download is `i mod 251`: a prime, so that a lost or doubled block of any usual size shows.
const PERIOD: u64 = 251;

/// 256 periods, about as much as a TLS record times four.
static BLOCK: LazyLock<Bytes> = LazyLock::new(|| (0..PERIOD * 256).map(|i| (i % PERIOD) as u8).collect());

/// A body that `produce` writes.
pub(crate) fn produced<F: Future<Output = Result<(), ()>> + Send + 'static>(produce: impl FnOnce(Sender<Bytes, io::Error>) -> F) -> Body {
    let (sender, body) = Channel::new(4);
    // An error means that the reader is gone: there is nobody to tell.
    tokio::spawn(produce(sender));
    body.boxed_unsync()
}

async fn send(sender: &mut Sender<Bytes, io::Error>, bytes: impl Into<Bytes>) -> Result<(), ()> {
    sender.send_data(bytes.into()).await.map_err(|_| ())
}

/// `/bytes/N`.
pub(crate) fn pattern(length: u64) -> Response<Body> {
    let body = produced(async move |mut sender: Sender<Bytes, io::Error>| {
        let mut left = length;
        while left > 0 {
            let size = left.min(BLOCK.len() as u64);
            send(&mut sender, BLOCK.slice(..size as usize)).await?;
            left -= size;
        }
        Ok(())
    });
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

/// `/slow?head=MS&n=N&every=MS&stall=head|body`: the head after `head`, then `n` dots, one each `every`; with `stall`
/// nothing more comes from there on, and the connection stays open.
pub(crate) async fn slow(arrival: &Arrival) -> Response<Body> {
    let number = |name: &str, otherwise: u64| arrival.query_number(name).unwrap_or(otherwise);
    let stall = arrival.query("stall");
    if stall.as_deref() == Some("head") {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(Duration::from_millis(number("head", 0))).await;
    let (dots, every, stalls) = (number("n", 1), Duration::from_millis(number("every", 0)), stall.is_some());
    Response::new(produced(async move |mut sender: Sender<Bytes, io::Error>| {
        for _ in 0..dots {
            tokio::time::sleep(every).await;
            send(&mut sender, ".").await?;
        }
        if stalls {
            std::future::pending::<()>().await;
        }
        Ok(())
    }))
}

/// `/sse?n=N&ms=MS`, or `/sse?n=N&release=STREAM`: events at an interval, or each when the test lets it go.
pub(crate) fn events(arrival: &Arrival, releases: Arc<Releases>) -> Response<Body> {
    let n = arrival.query_number("n").unwrap_or(1);
    let every = Duration::from_millis(arrival.query_number("ms").unwrap_or(0));
    let stream = arrival.query("release");
    let mut response = Response::new(produced(async move |mut sender: Sender<Bytes, io::Error>| {
        for i in 1..=n {
            match &stream {
                Some(stream) => releases.wait(stream).await,
                None => tokio::time::sleep(every).await,
            }
            send(&mut sender, format!("id: {i}\nevent: tick\ndata: {{\"i\":{i}}}\n\n")).await?;
        }
        Ok(())
    }));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// `/trailers`: fields after the body, among them some that RFC 9110 (section 6.5.1) forbids there.
pub(crate) fn trailers() -> Response<Body> {
    let mut fields = HeaderMap::new();
    fields.insert("x-checksum", HeaderValue::from_static("abc"));
    fields.insert("authorization", HeaderValue::from_static("Bearer trailer"));
    let mut response = Response::new(produced(async move |mut sender: Sender<Bytes, io::Error>| {
        send(&mut sender, "body\n").await?;
        sender.send_trailers(fields).await.map_err(|_| ())
    }));
    response.headers_mut().insert(TRAILER, HeaderValue::from_static("x-checksum, authorization"));
    response
}

/// What the backend's output cannot be turned into.
pub(crate) fn bad_gateway(message: &str) -> Response<Body> {
    failure(StatusCode::BAD_GATEWAY, message)
}
