//! Bodies: streamed, counted, bounded and watched.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bottle_contract::reason::Reason;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::http::access_log::Notes;
use crate::http::refusal::Refused;

/// Any body, in either direction.
pub type Body = BoxBody<Bytes, BodyError>;

/// Why a body ended before its end.
#[derive(Debug)]
pub enum BodyError {
    /// A verdict, reached while the body was under way.
    Refused(Refused),
    /// The connection or the framing broke.
    Broken(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Broken(cause) => write!(f, "the body broke off: {cause}"),
        }
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Refused(refused) => Some(refused),
            Self::Broken(cause) => Some(cause.as_ref()),
        }
    }
}

impl From<Refused> for BodyError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<hyper::Error> for BodyError {
    fn from(error: hyper::Error) -> Self {
        Self::Broken(Box::new(error))
    }
}

/// The refusal inside an error, however deep: a client whose request body was refused fails with it as a source.
pub fn refusal_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Refused> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return Some(refused);
        }
        next = error.source();
    }
    None
}

/// No bytes.
pub fn empty() -> Body {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed()
}

/// These bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// What an origin or a next hop sends.
pub fn incoming(body: Incoming) -> Body {
    body.map_err(BodyError::from).boxed()
}

/// A request's body on its way up: counted, bounded, without trailers. Nothing needs request trailers, and each
/// field in one would be a header that no rule has seen.
pub(crate) struct Uplink {
    pub(crate) body: Incoming,
    pub(crate) limit: u64,
    pub(crate) notes: Notes,
}

impl http_body::Body for Uplink {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => {
                    self.notes.all_read();
                    return Poll::Ready(None);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => frame,
            };
            if self.body.is_end_stream() {
                self.notes.all_read();
            }
            let Some(data) = frame.data_ref() else { continue };
            if self.notes.add_sent(data.len()) > self.limit {
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
    Refused::new(Reason::TooLarge, format!("the request body is longer than {limit} bytes")).place("body")
}

/// The refusal of a message that stands still.
pub(crate) fn too_slow(idle: Duration) -> Refused {
    Refused::new(Reason::TooSlow, format!("nothing moved for {} ms", idle.as_millis())).place("upstream")
}

/// Ends when nothing has moved in either direction for `idle`.
pub(crate) async fn stalled(notes: &Notes, idle: Duration) {
    loop {
        let due = notes.moved() + idle;
        if due <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(due).await;
    }
}

/// A response's body on its way down: counted, watched, with harmless trailers only. Its end, or its drop, is the
/// end of the exchange.
pub(crate) struct Downlink {
    body: Body,
    notes: Notes,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Writes the exchange's event when this body is gone.
    record: Option<crate::http::exchange::Record>,
}

impl Downlink {
    pub(crate) fn new(body: Body, notes: Notes, idle: Duration, record: Option<crate::http::exchange::Record>) -> Self {
        Self { body, notes, idle, timer: None, record }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let due = self.notes.moved() + self.idle;
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            ready!(timer.as_mut().poll(cx));
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

impl http_body::Body for Downlink {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => {
                ready!(self.poll_stalled(cx));
                let refused = too_slow(self.idle);
                if let Some(record) = &mut self.record {
                    record.broke(&refused);
                }
                return Poll::Ready(Some(Err(refused.into())));
            }
            Poll::Ready(frame) => frame,
        };
        Poll::Ready(match frame {
            None => {
                self.record = None;
                None
            }
            Some(Err(error)) => {
                if let Some(record) = &mut self.record {
                    record.broken(&error);
                }
                Some(Err(error))
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.notes.add_received(data.len());
                    Some(Ok(Frame::data(data)))
                }
                Err(frame) => frame.into_trailers().ok().map(|mut trailers| {
                    crate::http::headers::clean_trailers(&mut trailers);
                    Ok(Frame::trailers(trailers))
                }),
            },
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
