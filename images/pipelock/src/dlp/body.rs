//! Bodies on their way up. A small one is scanned whole before anything is sent. A large one follows the scanner at a
//! distance: what is sent is always at least [`HELD`] bytes behind what was scanned, so a secret that is found has
//! not begun to leave, and the message that held it is never completed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bottle_contract::Reason;
use bottle_wire::{Body, BodyError, Refused};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::inspect::Inspector;

/// Bodies up to here are scanned whole.
const WHOLE: usize = 1 << 20;
/// The distance between scanning and sending in larger bodies: longer than any form of any token that the scanner's
/// rules know, private keys included.
pub const HELD: usize = 64 << 10;
/// What whole bodies may take together, in KiB. When it is used up, further bodies are streamed instead.
const WHOLE_TOGETHER: usize = 8 << 10;
/// What decoders' windows may take together, in units of 8 MiB.
const WINDOWS: usize = 4;

/// Bounds on memory that all requests share.
#[derive(Clone, Debug)]
pub struct Budget {
    whole: Arc<Semaphore>,
    windows: Arc<Semaphore>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { whole: Arc::new(Semaphore::new(WHOLE_TOGETHER)), windows: Arc::new(Semaphore::new(WINDOWS)) }
    }
}

/// A request's body as the pool sends it.
#[derive(Debug)]
pub struct Upload {
    /// Scanned, and ready to be sent once it is far enough behind.
    held: VecDeque<Bytes>,
    held_bytes: usize,
    /// What comes after it.
    rest: Option<Box<Rest>>,
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
    /// No body.
    pub fn empty() -> Self {
        Self { held: VecDeque::new(), held_bytes: 0, rest: None, _memory: Vec::new() }
    }

    /// Scans the beginning of a body, or all of it. `patience` bounds the wait for memory to decode it in.
    pub async fn start(mut body: Body, mut inspector: Inspector, budget: &Budget, patience: Duration) -> Result<Self, Refused> {
        if body.is_end_stream() {
            inspector.finish()?;
            return Ok(Self::empty());
        }
        let windows = match inspector.windows() {
            0 => None,
            units => {
                let permit = tokio::time::timeout(patience, budget.windows.clone().acquire_many_owned(units)).await;
                let busy = || Refused::new(Reason::TooMany, "too many compressed bodies are being read at once");
                Some(permit.ok().and_then(Result::ok).ok_or_else(busy)?)
            }
        };
        let mut upload = Self::empty();
        loop {
            let Some(frame) = body.frame().await else {
                inspector.finish()?;
                return Ok(upload);
            };
            let frame = frame.map_err(|error| match error {
                BodyError::Refused(refused) => refused,
                BodyError::Broken(cause) => Refused::new(Reason::MalformedRequest, format!("the request body broke off: {cause}")),
            })?;
            let Ok(data) = frame.into_data() else { continue };
            inspector.push(&data)?;
            let kib = u32::try_from(data.len().div_ceil(1024)).unwrap_or(u32::MAX);
            let memory = budget.whole.clone().try_acquire_many_owned(kib);
            upload.hold(data);
            match memory {
                Ok(permit) if upload.held_bytes <= WHOLE => upload._memory.push(permit),
                _ => break,
            }
        }
        // From here on only the held bytes stay in memory.
        upload._memory.clear();
        upload.rest = Some(Box::new(Rest { body, inspector: Some(inspector), _windows: windows }));
        Ok(upload)
    }

    fn hold(&mut self, data: Bytes) {
        self.held_bytes += data.len();
        if !data.is_empty() {
            self.held.push_back(data);
        }
    }

    /// The next bytes of which at least `keep` others stay behind.
    fn release(&mut self, keep: usize) -> Option<Bytes> {
        let free = self.held_bytes.saturating_sub(keep);
        if free == 0 {
            return None;
        }
        let front = self.held.front_mut()?;
        let bytes = if front.len() <= free { self.held.pop_front()? } else { front.split_to(free) };
        self.held_bytes -= bytes.len();
        Some(bytes)
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let open = self.rest.as_ref().is_some_and(|rest| rest.inspector.is_some());
            if let Some(bytes) = self.release(if open { HELD } else { 0 }) {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let Some(rest) = self.rest.as_mut().filter(|_| open) else { return Poll::Ready(None) };
            match ready!(Pin::new(&mut rest.body).poll_frame(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if let Some(inspector) = &mut rest.inspector
                        && let Err(refused) = inspector.push(&data)
                    {
                        return Poll::Ready(Some(Err(refused.into())));
                    }
                    self.hold(data);
                }
                None => {
                    let end = rest.inspector.take().map_or(Ok(()), Inspector::finish);
                    if let Err(refused) = end {
                        // What is held stays held: the message must not be completed.
                        self.held.clear();
                        self.held_bytes = 0;
                        return Poll::Ready(Some(Err(refused.into())));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held_bytes == 0 && self.rest.as_ref().is_none_or(|rest| rest.inspector.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held_bytes as u64;
        let open = self.rest.as_ref().filter(|rest| rest.inspector.is_some());
        match open.map(|rest| rest.body.size_hint()) {
            None => SizeHint::with_exact(held),
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

#[cfg(test)]
mod tests;
