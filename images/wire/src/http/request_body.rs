//! A request's body on its way up: counted, bounded, with harmless trailers only.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bottle_contract::reason::Reason;
use bottle_policy::{Place, Refused};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::http::access_log::AccessLog;
use crate::http::body::{self, Body, BodyError};
use crate::http::{headers, trailers};

/// The body of a request, of at most `limit` bytes.
pub(crate) fn request_body(incoming: Incoming, limit: u64, from_sibling: bool, log: &AccessLog) -> Body {
    if incoming.is_end_stream() {
        return body::empty();
    }
    RequestBody { body: incoming, limit, from_sibling, log: log.clone() }.boxed()
}

struct RequestBody {
    body: Incoming,
    limit: u64,
    from_sibling: bool,
    log: AccessLog,
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => {
                    self.log.request_read();
                    return Poll::Ready(None);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => frame,
            };
            if self.body.is_end_stream() {
                self.log.request_read();
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
