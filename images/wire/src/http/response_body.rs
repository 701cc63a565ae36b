//! A response's body on its way down: counted, watched, with harmless trailers only.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bottle_contract::reason::Reason;
use bottle_policy::{Place, Refused};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::http::access_log::AccessLog;
use crate::http::body::{Body, BodyError};
use crate::http::record::Record;
use crate::http::{headers, trailers};

/// The refusal of a message that stands still.
pub(crate) fn too_slow(idle: Duration) -> Refused {
    Refused::new(Reason::TooSlow, format!("nothing moved for {} ms", idle.as_millis())).place(Place::Upstream)
}

/// Its end, or its drop, is the end of the exchange.
pub(crate) struct ResponseBody {
    body: Body,
    log: AccessLog,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Writes the exchange's event when this body is gone.
    record: Option<Record>,
    into_sibling: bool,
}

impl ResponseBody {
    pub(crate) fn new(body: Body, log: AccessLog, idle: Duration, record: Option<Record>) -> Self {
        Self { body, log, idle, timer: None, record, into_sibling: false }
    }

    /// For a sibling, whose connection carries trailers in a field of our own.
    pub(crate) fn into_sibling(self) -> Self {
        Self { into_sibling: true, ..self }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let due = self.log.moved() + self.idle;
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            ready!(timer.as_mut().poll(cx));
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

impl http_body::Body for ResponseBody {
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
                    self.log.add_received(data.len());
                    Some(Ok(Frame::data(data)))
                }
                Err(frame) => frame.into_trailers().ok().map(|mut trailers| {
                    headers::clean_trailers(&mut trailers);
                    Ok(Frame::trailers(if self.into_sibling { trailers::pack(&trailers) } else { trailers }))
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
