//! An answer as a stream (SSE), for a client that wants to hear of progress: while a person is waited for, it is told that the call lives.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bottle_wire::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Between two notifications.
const INTERVAL: Duration = Duration::from_secs(5);

/// A response that tells of progress until `answer` is there, and then ends with it. A client that leaves drops `answer`.
pub(crate) fn stream(token: Value, answer: impl Future<Output = Value> + Send + 'static) -> Response<Body> {
    let (sender, events) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::pin!(answer);
        let mut count = 0u64;
        loop {
            let message = tokio::select! {
                biased;
                answer = &mut answer => {
                    let _ = sender.send(event(&answer)).await;
                    return;
                }
                () = sender.closed() => return,
                () = tokio::time::sleep(INTERVAL) => {
                    count += 1;
                    let params = json!({ "progressToken": token, "progress": count, "message": "a person has not decided yet" });
                    json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params })
                }
            };
            if sender.send(event(&message)).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(Events(events).map_err(|never: Infallible| match never {}).boxed());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// JSON has no line ends, so one field holds it (HTML, section 9.2.6).
fn event(message: &Value) -> Bytes {
    format!("event: message\ndata: {message}\n\n").into()
}

struct Events(mpsc::Receiver<Bytes>);

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
