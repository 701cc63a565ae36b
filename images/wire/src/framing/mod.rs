//! Message framing of HTTP/1, recognised strictly before hyper reads it.
//!
//! hyper reads leniently in places where two parsers may disagree: a bare LF ends a line, equal Content-Length fields
//! merge, Transfer-Encoding wins over Content-Length. [`FramingGuard`] lets only messages with exactly one reading through. A
//! head is held back until it is whole and valid; in place of one that is not, hyper gets a head with the method
//! [`violation::VIOLATION`], which no agent can send, and the service answers it with the refusal.

mod chunked;
mod request_head;
mod violation;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::delegate;
use chunked::Chunked;
use request_head::{Body, read};
use violation::Violation;
pub(crate) use violation::{check_head, violation};

/// How long, and how many bytes, a closed connection is still read, so that its last answer is not lost to a reset
/// (RFC 9112, section 9.6).
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_LINGER_BYTES: usize = 16 << 20;

/// Bounds of a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    pub(crate) bytes: usize,
    pub(crate) fields: usize,
}

#[derive(Debug)]
enum State {
    /// Between messages, or in a head.
    Head,
    /// In a body of which so many bytes are still to come.
    Length(u64),
    Chunked(Chunked),
    /// Behind a `CONNECT` or an upgrade: no HTTP/1 any more, or a connection that closes.
    Opaque,
    /// A violation was found; nothing more is read.
    Refused,
}

/// Recognises messages in what is read from `S`.
#[derive(Debug)]
pub(crate) struct FramingGuard<S> {
    stream: S,
    limits: HeadLimits,
    state: State,
    /// Bytes taken from the stream and not passed on: first those that may pass, then a head under inspection.
    held: Vec<u8>,
    passable: usize,
    /// How much of the head under inspection is known to hold no end.
    searched: usize,
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> FramingGuard<S> {
    pub(crate) fn new(stream: S, limits: HeadLimits) -> Self {
        Self { stream, limits, state: State::Head, held: Vec::new(), passable: 0, searched: 0, linger: None }
    }

    /// True when part of a head has come.
    pub(crate) fn in_head(&self) -> bool {
        matches!(self.state, State::Head) && !self.held.is_empty()
    }

    /// The stream, and what was read from it and not passed on.
    pub(crate) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.held)
    }

    /// Follows the messages in `bytes`, which come next after what was followed before. Returns how many of them may
    /// pass. After a violation in a head the state is [`State::Refused`] and the second value says which.
    fn follow(&mut self, bytes: &[u8]) -> io::Result<(usize, Option<Violation>)> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match &mut self.state {
                State::Opaque => return Ok((bytes.len(), None)),
                State::Refused => return Ok((at, None)),
                State::Length(0) => self.state = State::Head,
                _ if rest.is_empty() => return Ok((at, None)),
                State::Length(left) => {
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    at += taken;
                }
                State::Chunked(chunked) => {
                    let (taken, done) = chunked.follow(rest, self.limits.bytes)?;
                    at += taken;
                    if done {
                        self.state = State::Head;
                    }
                }
                State::Head => {
                    let verdict = match request_head::end(rest, &mut self.searched) {
                        Err(violation) => Err(violation),
                        Ok(None) if rest.len() <= self.limits.bytes => return Ok((at, None)),
                        Ok(Some(end)) if end <= self.limits.bytes => read(&rest[..end], self.limits.fields).map(|body| (end, body)),
                        Ok(_) => Err(Violation::HeadTooLarge),
                    };
                    self.searched = 0;
                    match verdict {
                        Ok((end, body)) => {
                            at += end;
                            self.state = match body {
                                Body::Length(length) => State::Length(length),
                                Body::Chunked => State::Chunked(Chunked::default()),
                                Body::Opaque => State::Opaque,
                            };
                        }
                        Err(violation) => {
                            self.state = State::Refused;
                            return Ok((at, Some(violation)));
                        }
                    }
                }
            }
        }
    }

    /// Puts a verdict of [`Self::follow`] on `held` into effect.
    fn settle(&mut self, passable: usize, violation: Option<Violation>) {
        self.passable = passable;
        if let Some(violation) = violation {
            self.held.truncate(passable);
            self.held.extend(violation.stand_in());
            self.passable = self.held.len();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FramingGuard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.passable > 0 {
                let taken = this.passable.min(buf.remaining());
                buf.put_slice(&this.held[..taken]);
                this.passable -= taken;
                this.held.drain(..taken);
                if this.held.is_empty() {
                    this.held = Vec::new();
                }
                return Poll::Ready(Ok(()));
            }
            if matches!(this.state, State::Refused) {
                // Not the end, which would make hyper drop the answer; the answer ends the connection.
                return Poll::Pending;
            }
            if this.held.is_empty() {
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
                let came = buf.filled().len() - before;
                if came == 0 {
                    return Poll::Ready(Ok(()));
                }
                let (passable, violation) = this.follow(&buf.filled()[before..])?;
                if passable == came {
                    return Poll::Ready(Ok(()));
                }
                if violation.is_none() {
                    this.held.extend_from_slice(&buf.filled()[before + passable..]);
                }
                this.settle(0, violation);
                buf.set_filled(before + passable);
                if passable > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                let mut room = [0; 2048];
                let mut more = ReadBuf::new(&mut room);
                ready!(Pin::new(&mut this.stream).poll_read(cx, &mut more))?;
                if more.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                let mut held = std::mem::take(&mut this.held);
                held.extend_from_slice(more.filled());
                let (passable, violation) = this.follow(&held)?;
                this.held = held;
                this.settle(passable, violation);
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for FramingGuard<S> {
    delegate!(stream: poll_write, poll_write_vectored, poll_flush);

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if matches!(this.state, State::Head | State::Length(0)) {
                return Poll::Ready(Ok(()));
            }
        }
        let (timer, left) = this.linger.get_or_insert_with(|| (Box::pin(tokio::time::sleep(LINGER_TIMEOUT)), MAX_LINGER_BYTES));
        let mut room = [0; 8192];
        while timer.as_mut().poll(cx).is_pending() {
            let mut more = ReadBuf::new(&mut room);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut more)) {
                Ok(()) if !more.filled().is_empty() && *left > 0 => *left = left.saturating_sub(more.filled().len()),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
