//! Bodies on their way up. A small one is scanned whole before anything is sent. A large one follows the scanner: only
//! what it has cleared is sent, so a secret that is found has not begun to leave, and the message that held it is
//! never completed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bottle_contract::Reason;
use bottle_policy::Place;
use bottle_wire::{Body, BodyError, Refused};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body_scan::Inspector;

/// Bodies up to here are scanned whole.
const MAX_WHOLE_BYTES: usize = 1 << 20;
/// What may wait to be cleared. The scanner clears after some 150 KiB; only a body made to hide something, as by
/// compressed frames without content, makes more wait.
const MAX_WAITING_BYTES: usize = 4 << 20;
/// What whole bodies may take together, in KiB. When it is used up, further bodies are streamed instead.
const MAX_WHOLE_KIB_TOGETHER: usize = 8 << 10;
/// What decoders' windows may take together, in units of 8 MiB.
const MAX_WINDOWS: usize = 2;

/// Bounds on memory that all requests share.
#[derive(Clone, Debug)]
pub struct Budget {
    whole: Arc<Semaphore>,
    windows: Arc<Semaphore>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { whole: Arc::new(Semaphore::new(MAX_WHOLE_KIB_TOGETHER)), windows: Arc::new(Semaphore::new(MAX_WINDOWS)) }
    }
}

/// Where a verdict is left that is reached while a body is under way: HTTP clients do not pass it on in every case.
pub type Verdict = Arc<OnceLock<Refused>>;

/// A request's body as the pool sends it; the default is no body.
#[derive(Debug, Default)]
pub struct Upload {
    /// Scanned, and ready to be sent once it is far enough behind.
    held: VecDeque<Bytes>,
    held_bytes: usize,
    /// What was released so far.
    released: u64,
    /// What comes after it.
    rest: Option<Box<Rest>>,
    /// Scanned; they are sent behind everything else.
    trailers: Option<HeaderMap>,
    verdict: Verdict,
    /// All of a small body, decoded.
    small: Vec<u8>,
    _memory: Vec<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Rest {
    body: Body,
    /// None once the body has ended well.
    inspector: Option<Inspector>,
    _windows: Option<OwnedSemaphorePermit>,
}

impl Upload {
    /// Scans the beginning of a body, or all of it. `patience` bounds the wait for memory to decode it in.
    pub async fn start(mut body: Body, mut inspector: Inspector, budget: &Budget, patience: Duration) -> Result<Self, Refused> {
        if body.is_end_stream() {
            inspector.finish()?;
            return Ok(Self::default());
        }
        let windows = match inspector.windows() {
            0 => None,
            units => {
                let permit = tokio::time::timeout(patience, budget.windows.clone().acquire_many_owned(units)).await;
                let busy = || Refused::new(Reason::TooMany, "too many compressed bodies are being read at once");
                Some(permit.ok().and_then(Result::ok).ok_or_else(busy)?)
            }
        };
        let mut upload = Self::default();
        loop {
            let Some(frame) = body.frame().await else {
                upload.small = inspector.finish_soon().await?;
                return Ok(upload);
            };
            let frame = frame.map_err(|error| match error {
                BodyError::Refused(refused) => refused,
                BodyError::Broken(cause) => Refused::new(Reason::MalformedRequest, format!("the request body broke off: {cause}")),
            })?;
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    upload.take_trailers(frame, &inspector)?;
                    continue;
                }
            };
            inspector.push(&data)?;
            let kib = u32::try_from(data.len().div_ceil(1024)).unwrap_or(u32::MAX);
            let memory = budget.whole.clone().try_acquire_many_owned(kib);
            upload.hold(data);
            match memory {
                Ok(permit) if upload.held_bytes <= MAX_WHOLE_BYTES => upload._memory.push(permit),
                _ => break,
            }
        }
        // From here on only the held bytes stay in memory.
        upload._memory.clear();
        upload.rest = Some(Box::new(Rest { body, inspector: Some(inspector), _windows: windows }));
        Ok(upload)
    }

    /// Where a later verdict will be, if the body is still under way.
    pub fn verdict(&self) -> Option<Verdict> {
        self.rest.as_ref().map(|_| self.verdict.clone())
    }

    /// What a small body holds, decoded; nothing of one that is not small.
    pub fn small(&self) -> &[u8] {
        &self.small
    }

    fn take_trailers(&mut self, frame: Frame<Bytes>, inspector: &Inspector) -> Result<(), Refused> {
        let Ok(trailers) = frame.into_trailers() else { return Ok(()) };
        inspector.trailers(&trailers)?;
        self.trailers = Some(trailers);
        Ok(())
    }

    fn hold(&mut self, data: Bytes) {
        self.held_bytes += data.len();
        if !data.is_empty() {
            self.held.push_back(data);
        }
    }

    /// The next bytes that may be sent.
    fn release(&mut self) -> Option<Bytes> {
        let open = self.rest.as_ref().and_then(|rest| rest.inspector.as_ref());
        let free = match open.map(Inspector::cleared) {
            None => self.held_bytes,
            Some(cleared) => usize::try_from(cleared.saturating_sub(self.released)).unwrap_or(usize::MAX),
        };
        if free == 0 {
            return None;
        }
        let front = self.held.front_mut()?;
        let bytes = if front.len() <= free { self.held.pop_front()? } else { front.split_to(free) };
        self.held_bytes -= bytes.len();
        self.released += bytes.len() as u64;
        Some(bytes)
    }

    /// Ends the body for good. What is held stays held: the message must not be completed.
    fn refuse(&mut self, refused: Refused) -> BodyError {
        self.held.clear();
        self.held_bytes = 0;
        let _ = self.verdict.set(refused.clone());
        refused.into()
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(bytes) = self.release() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let Some(rest) = self.rest.as_mut().filter(|rest| rest.inspector.is_some()) else {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            };
            match ready!(Pin::new(&mut rest.body).poll_frame(cx)) {
                Some(Err(BodyError::Refused(refused))) => return Poll::Ready(Some(Err(self.refuse(refused)))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    let data = match frame.into_data() {
                        Ok(data) => data,
                        Err(frame) => {
                            let inspector = rest.inspector.take();
                            let taken = inspector.as_ref().map_or(Ok(()), |inspector| self.take_trailers(frame, inspector));
                            if let Err(refused) = taken {
                                return Poll::Ready(Some(Err(self.refuse(refused))));
                            }
                            if let Some(rest) = &mut self.rest {
                                rest.inspector = inspector;
                            }
                            continue;
                        }
                    };
                    if let Some(inspector) = &mut rest.inspector
                        && let Err(refused) = inspector.push(&data)
                    {
                        return Poll::Ready(Some(Err(self.refuse(refused))));
                    }
                    self.hold(data);
                    if self.held_bytes > MAX_WAITING_BYTES {
                        let message = "too much of the body would have to wait to be checked";
                        let refused = Refused::new(Reason::BodyNotScannable, message).place(Place::Body);
                        return Poll::Ready(Some(Err(self.refuse(refused))));
                    }
                }
                None => {
                    let end = rest.inspector.take().map_or(Ok(()), |inspector| inspector.finish().map(drop));
                    if let Err(refused) = end {
                        return Poll::Ready(Some(Err(self.refuse(refused))));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held_bytes == 0 && self.trailers.is_none() && self.rest.as_ref().is_none_or(|rest| rest.inspector.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held_bytes as u64;
        let open = self.rest.as_ref().filter(|rest| rest.inspector.is_some());
        match open.map(|rest| rest.body.size_hint()) {
            None if self.trailers.is_none() => SizeHint::with_exact(held),
            None => SizeHint::default(),
            Some(hint) => {
                let mut sum = SizeHint::new();
                sum.set_lower(hint.lower().saturating_add(held));
                if let Some(upper) = hint.upper() {
                    sum.set_upper(upper.saturating_add(held));
                }
                sum
            }
        }
    }
}

/// The answer to a request whose body is still under way: should that be refused, this is where the agent learns why.
pub struct WithVerdict {
    /// What the origin answers.
    pub answer: Body,
    /// What became of the request's body.
    pub verdict: Verdict,
}

impl http_body::Body for WithVerdict {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.answer).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(|broken| self.verdict.get().cloned().map_or(broken, BodyError::from))))
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}

#[cfg(test)]
mod tests;
