//! One connection to a next hop, over HTTP/1.1 or HTTP/2, and requests on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::http::access_log::AccessLog;
use crate::http::body::BodyError;

/// What hyper reads ahead of a slow agent on HTTP/1.1.
const READ_AHEAD: usize = 64 << 10;
/// Credit for one HTTP/2 stream and one connection: enough for 80 MB/s at 50 ms, little enough to hold in memory.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// What HTTP/2 may buffer of an upload that an origin is slow to take.
const SEND_BUFFER: usize = 256 << 10;
/// How soon a silent HTTP/2 connection is noticed to be dead.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// What is spoken on a connection. It decides the form in which a request names its target (RFC 9112, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 with an origin: path and query alone.
    Http1,
    /// HTTP/1.1 with a proxy: the whole URI.
    Http1Proxy,
    /// HTTP/2 with an origin: the whole URI, and no `Host`, which `:authority` replaces.
    Http2,
}

/// A connection that was just made.
pub struct NewConnection<S> {
    /// Its bytes.
    pub stream: S,
    /// The address at its other end, if that is worth a note.
    pub address: Option<Arc<str>>,
    /// What is spoken on it.
    pub protocol: Protocol,
}

/// A connection on which requests are sent. A clone of one of HTTP/2 shares it.
pub(super) struct Sender<B> {
    requests: Requests<B>,
    address: Option<Arc<str>>,
    protocol: Protocol,
    /// It has brought an answer.
    answered: Arc<AtomicBool>,
}

enum Requests<B> {
    Http1(http1::SendRequest<B>),
    Http2(http2::SendRequest<B>),
}

impl<B> Sender<B>
where
    B: http_body::Body<Data = Bytes, Error = BodyError> + Send + Unpin + 'static,
{
    /// Begins to speak on a connection.
    pub(super) async fn open<S>(dialled: NewConnection<S>) -> hyper::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let NewConnection { stream, address, protocol } = dialled;
        let stream = TokioIo::new(stream);
        // The error of a connection reaches whoever waits for an answer.
        let requests = match protocol {
            Protocol::Http1 | Protocol::Http1Proxy => {
                let (sender, connection) = http1::Builder::new().max_buf_size(READ_AHEAD).handshake(stream).await?;
                tokio::spawn(async move { drop(connection.with_upgrades().await) });
                Requests::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .max_send_buf_size(SEND_BUFFER)
                    .keep_alive_interval(PING_INTERVAL)
                    .keep_alive_timeout(PING_INTERVAL)
                    .handshake(stream)
                    .await?;
                tokio::spawn(async move { drop(connection.await) });
                Requests::Http2(sender)
            }
        };
        Ok(Self { requests, address, protocol, answered: Arc::default() })
    }

    /// The same connection for one more request at the same time; none of HTTP/1.1.
    pub(super) fn shared(&self) -> Option<Self> {
        let Requests::Http2(sender) = &self.requests else { return None };
        let (address, answered) = (self.address.clone(), self.answered.clone());
        Some(Self { requests: Requests::Http2(sender.clone()), address, protocol: self.protocol, answered })
    }

    pub(super) async fn ready(&mut self) -> hyper::Result<()> {
        match &mut self.requests {
            Requests::Http1(sender) => sender.ready().await,
            Requests::Http2(sender) => sender.ready().await,
        }
    }

    /// Sends a request to `uri`. An error holds the request again if nothing of it was sent.
    pub(super) async fn send(&mut self, mut request: Request<B>, uri: &Uri) -> Result<Response<Incoming>, TrySendError<Request<B>>> {
        self.name_target(&mut request, uri);
        let response = match &mut self.requests {
            Requests::Http1(sender) => sender.try_send_request(request).await?,
            Requests::Http2(sender) => sender.try_send_request(request).await?,
        };
        self.answered.store(true, Ordering::Relaxed);
        Ok(response)
    }

    fn name_target(&self, request: &mut Request<B>, uri: &Uri) {
        *request.uri_mut() = match (self.protocol, uri.path_and_query()) {
            (Protocol::Http1, Some(path)) => Uri::from(path.clone()),
            _ => uri.clone(),
        };
        let headers = request.headers_mut();
        if self.protocol == Protocol::Http2 {
            headers.remove(header::HOST);
        } else if let Some(Ok(host)) = uri.authority().map(|authority| HeaderValue::from_str(authority.as_str())) {
            // Missing in a request that an HTTP/2 connection did not take.
            headers.entry(header::HOST).or_insert(host);
        }
    }
}

impl<B> Sender<B> {
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.requests, Requests::Http2(_))
    }

    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        match &self.requests {
            Requests::Http1(sender) => sender.is_closed(),
            Requests::Http2(sender) => sender.is_closed(),
        }
    }

    pub(super) fn note_address(&self, log: &AccessLog) {
        if let Some(address) = &self.address {
            log.update(|entry| entry.dialled = Some(address.as_ref().to_owned()));
        }
    }
}
