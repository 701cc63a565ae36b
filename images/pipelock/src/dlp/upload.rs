//! Bodies on their way up. A small one is scanned whole before anything is sent. A large one follows the scanner: only
//! what it has cleared is sent, so a secret that is found has not begun to leave, and the message that held it is
//! never completed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bottle_contract::Reason;
use bottle_policy::{Leak, Place, head};
use bottle_scan::Scanner;
use bottle_wire::{Body, BodyError, Refused};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body_scan::{Inspector, Violation};
use super::fragments::MAX_SMALL_BODY;
use super::redaction::{Redaction, Redacts, refuse_seal};

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
    reading: Option<Reading>,
    _windows: Option<OwnedSemaphorePermit>,
}

/// What reads a body.
#[derive(Debug)]
enum Reading {
    /// What it finds is refused.
    Inspect(Box<Inspector>),
    /// What it finds is replaced.
    Redact(Box<Redaction>),
    /// Something was found in a small body that may be redacted: nothing more is read until it is whole.
    Found,
}

impl Reading {
    fn trailers(&self, trailers: &HeaderMap) -> Result<(), Refused> {
        match self {
            Self::Inspect(inspector) => inspector.trailers(trailers),
            Self::Redact(redaction) => redaction.trailers(trailers),
            // They are scanned when the body is.
            Self::Found => Ok(()),
        }
    }
}

impl Upload {
    /// Scans the beginning of a body, or all of it. `patience` bounds the wait for memory to decode it in; with `redacts`, what is found is
    /// replaced where it can be.
    pub async fn start(
        mut body: Body,
        inspector: Inspector,
        budget: &Budget,
        patience: Duration,
        redacts: Option<Redacts>,
    ) -> Result<Self, Refused> {
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
        let scanner = inspector.scanner().clone();
        // What is known to be small is scanned as any other body, and read again if something is found: that costs least where nothing is.
        let is_small = body.size_hint().exact().is_some_and(|length| length <= MAX_WHOLE_BYTES as u64);
        let mut reading = match &redacts {
            Some(redacts) if !is_small => Reading::Redact(Box::new(redacts.begin())),
            _ => Reading::Inspect(Box::new(inspector)),
        };
        let mut upload = Self::default();
        loop {
            let Some(frame) = body.frame().await else {
                upload.end(reading, &scanner, redacts).await?;
                return Ok(upload);
            };
            let frame = frame.map_err(|error| match error {
                BodyError::Refused(refused) => refused,
                BodyError::Broken(cause) => Refused::new(Reason::MalformedRequest, format!("the request body broke off: {cause}")),
            })?;
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    upload.take_trailers(frame, &reading)?;
                    continue;
                }
            };
            let kib = u32::try_from(data.len().div_ceil(1024)).unwrap_or(u32::MAX);
            let memory = budget.whole.clone().try_acquire_many_owned(kib);
            match &mut reading {
                Reading::Found => upload.hold(data),
                Reading::Redact(redaction) => upload.hold(redaction.push(&data)?),
                Reading::Inspect(inspector) => {
                    upload.hold(data.clone());
                    match inspector.push(&data) {
                        Ok(()) => {}
                        Err(Violation::Raw(_)) if redacts.is_some() => reading = Reading::Found,
                        Err(violation) => return Err(upload.refusal(violation, &scanner)),
                    }
                }
            }
            match memory {
                Ok(permit) if upload.held_bytes <= MAX_WHOLE_BYTES => upload._memory.push(permit),
                _ => break,
            }
        }
        if let (Some(redacts), Reading::Found | Reading::Inspect(_)) = (&redacts, &reading) {
            let mut redaction = redacts.begin();
            let held = std::mem::take(&mut upload.held);
            upload.held_bytes = 0;
            for chunk in held {
                upload.hold(redaction.push(&chunk)?);
            }
            reading = Reading::Redact(Box::new(redaction));
        }
        // From here on only the held bytes stay in memory.
        upload._memory.clear();
        upload.rest = Some(Box::new(Rest { body, reading: Some(reading), _windows: windows }));
        Ok(upload)
    }

    /// The end of a body of which nothing has been sent.
    async fn end(&mut self, reading: Reading, scanner: &Scanner, redacts: Option<Redacts>) -> Result<(), Refused> {
        let violation = match reading {
            Reading::Redact(redaction) => return self.end_redacted(*redaction),
            Reading::Inspect(inspector) => match inspector.finish_soon().await {
                Ok(small) => {
                    self.small = small;
                    return Ok(());
                }
                Err(violation) => Some(violation),
            },
            Reading::Found => None,
        };
        let Some(redacts) = redacts.filter(|_| matches!(violation, None | Some(Violation::Raw(_)))) else {
            return Err(violation.map_or_else(|| Violation::Unfinished.into(), |violation| self.refusal(violation, scanner)));
        };
        let (body, count) = redacts.whole(&self.all_held())?;
        if let Some(trailers) = &self.trailers {
            head::scan_trailers(scanner, trailers)?;
        }
        refuse_seal(count, self.trailers.as_ref())?;
        if body.len() <= MAX_SMALL_BODY {
            self.small.clone_from(&body);
        }
        self.held.clear();
        self.held_bytes = 0;
        self.hold(body.into());
        Ok(())
    }

    fn end_redacted(&mut self, redaction: Redaction) -> Result<(), Refused> {
        let (rest, small) = redaction.finish(self.trailers.as_ref())?;
        self.hold(rest);
        self.small = small;
        Ok(())
    }

    /// The refusal of a body of which nothing has been sent: all that was read of it tells where in it the finding is.
    fn refusal(&self, violation: Violation, scanner: &Scanner) -> Refused {
        match violation {
            Violation::Raw(found) => Leak::in_text("body", found, scanner, &self.all_held()).into(),
            other => other.into(),
        }
    }

    fn all_held(&self) -> Vec<u8> {
        self.held.iter().flat_map(|chunk| chunk.iter().copied()).collect()
    }

    /// Where a later verdict will be, if the body is still under way.
    pub fn verdict(&self) -> Option<Verdict> {
        self.rest.as_ref().map(|_| self.verdict.clone())
    }

    /// What a small body holds, decoded; nothing of one that is not small.
    pub fn small(&self) -> &[u8] {
        &self.small
    }

    fn take_trailers(&mut self, frame: Frame<Bytes>, reading: &Reading) -> Result<(), Refused> {
        let Ok(trailers) = frame.into_trailers() else { return Ok(()) };
        reading.trailers(&trailers)?;
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
        let cleared = match self.rest.as_ref().and_then(|rest| rest.reading.as_ref()) {
            Some(Reading::Inspect(inspector)) => Some(inspector.cleared()),
            // What is held has passed the redaction.
            Some(Reading::Redact(_) | Reading::Found) | None => None,
        };
        let free = match cleared {
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

    /// Reads on, or the end; what reads what follows.
    fn read(&mut self, frame: Option<Frame<Bytes>>, mut reading: Reading) -> Result<Option<Reading>, Refused> {
        let Some(frame) = frame else {
            match reading {
                Reading::Inspect(inspector) => drop(inspector.finish()?),
                Reading::Redact(redaction) => self.end_redacted(*redaction)?,
                Reading::Found => return Err(Violation::Unfinished.into()),
            }
            return Ok(None);
        };
        match frame.into_data() {
            Err(frame) => self.take_trailers(frame, &reading)?,
            Ok(data) => {
                match &mut reading {
                    Reading::Inspect(inspector) => {
                        inspector.push(&data)?;
                        self.hold(data);
                    }
                    Reading::Redact(redaction) => self.hold(redaction.push(&data)?),
                    Reading::Found => return Err(Violation::Unfinished.into()),
                }
                let pending = if let Reading::Redact(redaction) = &reading { redaction.pending() } else { 0 };
                if self.held_bytes as u64 + pending > MAX_WAITING_BYTES as u64 {
                    let message = "too much of the body would have to wait to be checked";
                    return Err(Refused::new(Reason::BodyNotScannable, message).place(Place::Body));
                }
            }
        }
        Ok(Some(reading))
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
            let Some(rest) = self.rest.as_mut().filter(|rest| rest.reading.is_some()) else {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            };
            let frame = match ready!(Pin::new(&mut rest.body).poll_frame(cx)) {
                Some(Err(BodyError::Refused(refused))) => return Poll::Ready(Some(Err(self.refuse(refused)))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => Some(frame),
                None => None,
            };
            let Some(reading) = rest.reading.take() else { continue };
            match self.read(frame, reading) {
                Ok(reading) => {
                    if let Some(rest) = &mut self.rest {
                        rest.reading = reading;
                    }
                }
                Err(refused) => return Poll::Ready(Some(Err(self.refuse(refused)))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held_bytes == 0 && self.trailers.is_none() && self.rest.as_ref().is_none_or(|rest| rest.reading.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        let open = self.rest.as_ref().filter(|rest| rest.reading.is_some());
        let pending = match open.and_then(|rest| rest.reading.as_ref()) {
            Some(Reading::Redact(redaction)) => redaction.pending(),
            _ => 0,
        };
        let held = self.held_bytes as u64 + pending;
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
