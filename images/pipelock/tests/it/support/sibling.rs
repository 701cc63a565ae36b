//! A sibling sidecar: HTTP/1.1 with absolute-form targets over the link.

use bottle_contract::egress::HTTP_2;
use bottle_contract::reason::Refusal;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{DEADLINE, Pipelock};

/// A request's body.
pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// A connection to the link.
pub(crate) struct Sibling(SendRequest<Body>);

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Read {
    /// Its head.
    pub(crate) head: http::response::Parts,
    /// Its body.
    pub(crate) body: Bytes,
}

impl Read {
    /// The status and the body as text.
    pub(crate) fn told(&self) -> (u16, &str) {
        (self.head.status.as_u16(), std::str::from_utf8(&self.body).unwrap())
    }

    /// The status and the reason of a refusal.
    pub(crate) fn refusal(&self) -> (u16, Refusal) {
        let refusal: Refusal = serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no refusal: {self:?}"));
        assert_eq!(self.head.headers["x-bottle-reason"], refusal.reason.slug());
        (self.head.status.as_u16(), refusal)
    }
}

/// A request without a body.
pub(crate) fn get(uri: &str) -> http::request::Builder {
    Request::get(uri)
}

/// No body.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// These bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

impl Sibling {
    /// Connects.
    pub(crate) async fn dial(pipelock: &Pipelock) -> Self {
        Self::over(UnixStream::connect(&pipelock.socket).await.unwrap()).await
    }

    /// On this connection.
    pub(crate) async fn over(stream: UnixStream) -> Self {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self(sender)
    }

    /// Sends, as of an agent that speaks HTTP/2, and returns as soon as the answer's head is there.
    pub(crate) async fn send(&mut self, mut request: Request<Body>) -> Response<Incoming> {
        request.headers_mut().insert(HTTP_2, http::HeaderValue::from_static("1"));
        let authority = request.uri().authority().unwrap().as_str().parse().unwrap();
        request.headers_mut().entry("host").or_insert(authority);
        timeout(DEADLINE, self.0.ready()).await.unwrap().unwrap();
        timeout(DEADLINE, self.0.send_request(request)).await.expect("an answer in time").unwrap()
    }

    /// Sends and reads all of the answer.
    pub(crate) async fn exchange(&mut self, request: Request<Body>) -> Read {
        let (head, body) = self.send(request).await.into_parts();
        let body = timeout(DEADLINE, body.collect()).await.expect("a body in time").unwrap().to_bytes();
        Read { head, body }
    }
}

/// One request on a connection of its own.
pub(crate) async fn once(pipelock: &Pipelock, request: Request<Body>) -> Read {
    Sibling::dial(pipelock).await.exchange(request).await
}

/// Sends bytes on a connection of its own and reads until it is closed.
pub(crate) async fn raw(pipelock: &Pipelock, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(&pipelock.socket).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
    read.expect("an end in time").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
