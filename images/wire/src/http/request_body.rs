//! A request's body on its way up: counted, bounded, with harmless trailers only.
//!
//! Over HTTP/2, what nobody reads is discarded for a while instead of being reset: hyper resets the stream as soon as its body is dropped,
//! and a client that is still sending may then miss the response (RFC 9113, section 8.1).

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bottle_contract::reason::Reason;
use bottle_policy::{Place, Refused};
use bytes::Bytes;
use http::Version;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::http::access_log::AccessLog;
use crate::http::body::{self, Body, BodyError};
use crate::http::{headers, trailers};

/// How much of an unread HTTP/2 body is discarded, and for how long.
const MAX_DISCARDED_BYTES: usize = 1 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// The body of a request, of at most `limit` bytes.
pub(crate) fn request_body(incoming: Discarding, limit: u64, from_sibling: bool, log: &AccessLog) -> Body {
    if incoming.is_end_stream() {
        return body::empty();
    }
    RequestBody { body: incoming, limit, from_sibling, log: log.clone() }.boxed()
}

/// A body as it comes from hyper. Dropped early, an HTTP/2 body is discarded in the background.
pub(crate) struct Discarding {
    body: Option<Incoming>,
    http_2: bool,
}

impl Discarding {
    pub(crate) fn new(body: Incoming, version: Version) -> Self {
        Self { body: Some(body), http_2: version == Version::HTTP_2 }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
    }
}

impl Drop for Discarding {
    fn drop(&mut self) {
        if let Some(body) = self.body.take_if(|body| self.http_2 && !body.is_end_stream())
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(tokio::time::timeout(DISCARD_TIMEOUT, discard(body)));
        }
    }
}

async fn discard(mut body: Incoming) {
    let mut left = MAX_DISCARDED_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        left = rest;
    }
}

struct RequestBody {
    body: Discarding,
    limit: u64,
    from_sibling: bool,
    log: AccessLog,
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let frame = match ready!(self.body.poll_frame(cx)) {
                None => {
                    self.log.mark_request_read();
                    return Poll::Ready(None);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => frame,
            };
            if self.body.is_end_stream() {
                self.log.mark_request_read();
            }
            let frame = match frame.into_trailers() {
                Ok(trailers) => {
                    let mut trailers = if self.from_sibling { trailers::unpack(&trailers) } else { trailers };
                    headers::clean_trailers(&mut trailers);
                    if trailers.is_empty() {
                        continue;
                    }
                    Frame::trailers(trailers)
                }
                Err(frame) => frame,
            };
            if self.log.add_sent(frame.data_ref().map_or(0, Bytes::len)) > self.limit {
                return Poll::Ready(Some(Err(too_large(self.limit).into())));
            }
            return Poll::Ready(Some(Ok(frame)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The refusal of a body longer than `limit`.
pub(crate) fn too_large(limit: u64) -> Refused {
    Refused::new(Reason::TooLarge, format!("the request body is longer than {limit} bytes")).place(Place::Body)
}
