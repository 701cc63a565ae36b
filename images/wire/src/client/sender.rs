//! One connection to a next hop, over HTTP/1.1 or HTTP/2, and requests on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::client::response_guard::{ResponseGuard, Signals};
use crate::http::access_log::AccessLog;
use crate::http::body::BodyError;
use crate::http::headers;

/// What hyper reads ahead of a slow agent on HTTP/1.1.
const READ_AHEAD: usize = 64 << 10;
/// An answer's head, as HTTP/1.1 writes it, and its fields. Some pages bring hundreds.
pub const MAX_HEAD_BYTES: usize = 64 << 10;
/// See [`MAX_HEAD_BYTES`].
pub const MAX_FIELDS: usize = 1000;
/// What HTTP/2 counts for each field beyond its bytes (RFC 9113, section 6.5.2).
const FIELD_OVERHEAD: usize = 32;
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
    signals: Arc<Signals>,
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
        let signals = Arc::<Signals>::default();
        // The error of a connection reaches whoever waits for an answer.
        let requests = match protocol {
            Protocol::Http1 | Protocol::Http1Proxy => {
                let stream = TokioIo::new(ResponseGuard::new(stream, signals.clone()));
                let (sender, connection) = http1::Builder::new()
                    // The bound on a head is counted afterwards, the same for both versions.
                    .max_buf_size(MAX_HEAD_BYTES.max(READ_AHEAD) + 16_384)
                    .max_headers(MAX_FIELDS + 16)
                    .allow_spaces_after_header_name_in_responses(true)
                    .allow_obsolete_multiline_headers_in_responses(true)
                    .handshake(stream)
                    .await?;
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
                    .max_header_list_size(u32::try_from(MAX_HEAD_BYTES + MAX_FIELDS * FIELD_OVERHEAD).unwrap_or(u32::MAX))
                    .handshake(TokioIo::new(stream))
                    .await?;
                tokio::spawn(async move { drop(connection.await) });
                Requests::Http2(sender)
            }
        };
        Ok(Self { requests, address, protocol, answered: Arc::default(), signals })
    }

    /// The same connection for one more request at the same time; none of HTTP/1.1.
    pub(super) fn shared(&self) -> Option<Self> {
        let Requests::Http2(sender) = &self.requests else { return None };
        let (address, answered, signals) = (self.address.clone(), self.answered.clone(), self.signals.clone());
        Some(Self { requests: Requests::Http2(sender.clone()), address, protocol: self.protocol, answered, signals })
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
        self.frame(&mut request);
        self.signals.request_sent();
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
            headers::remove_where(headers, |name| *name == header::HOST);
        } else if let Some(Ok(host)) = uri.authority().map(|authority| HeaderValue::from_str(authority.as_str())) {
            // Missing in a request that an HTTP/2 connection did not take.
            headers.entry(header::HOST).or_insert(host);
        }
    }

    /// Says how long the body is where hyper would say nothing (RFC 9110, section 8.6; RFC 9112, section 6).
    fn frame(&self, request: &mut Request<B>) {
        let (bodyless, length) = (request.body().is_end_stream(), request.body().size_hint().exact());
        let takes_body = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
        let http_1 = self.protocol != Protocol::Http2;
        let headers = request.headers_mut();
        let is_framed = headers.contains_key(header::CONTENT_LENGTH);
        if bodyless && takes_body && !is_framed {
            // Some servers refuse a request without a length.
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        } else if http_1 && !bodyless && length.is_none() && !is_framed {
            // A GET may have a body, too: hyper would leave it out.
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        // A sender of TE names it in Connection (RFC 9110, section 10.1.4); HTTP/2 has no such field.
        if http_1 && headers.contains_key(header::TE) && !headers.contains_key(header::CONNECTION) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        }
    }
}

impl<B> Sender<B> {
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.requests, Requests::Http2(_))
    }

    /// The connection's TLS was not closed, but cut off.
    pub(super) fn was_cut_off(&self) -> bool {
        self.signals.was_cut_off()
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
