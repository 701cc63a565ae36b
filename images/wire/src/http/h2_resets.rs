//! Requests over HTTP/2 that h2 resets before anybody sees them: a raw `"` in a query, an upper-case name. Such a stream gets an answer with
//! the reason instead, as it would over HTTP/1.1, and each of them is an event. It is written where h2 writes its reset, and it is a head
//! without a body, which needs no credit.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bottle_contract::reason::{HEADER, Reason};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// RFC 9113, sections 6 and 7.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PROTOCOL_ERROR: u32 = 1;
const HEADER_BYTES: usize = 9;
const RESET_BYTES: usize = HEADER_BYTES + 4;
/// `:status: 400` in the static table, as an indexed field (RFC 7541, appendix A).
const STATUS_400: u8 = 0x8c;
/// Streams whose answer has begun, of which so many are remembered: more than may be open at once.
const MAX_ANSWERED: usize = 256;

/// What is said of it.
pub(crate) const MESSAGE: &str = "the HTTP/2 request is malformed: each character outside of a URL's own must be percent-encoded, field \
                                  names are in lower case, and no field belongs to a connection";

/// Where in the frames that are written we are.
#[derive(Clone, Debug, Default)]
struct Frames {
    /// Bytes to skip before the next frame's header.
    skip: usize,
    header: [u8; HEADER_BYTES],
    filled: usize,
}

/// Writes to `S`.
pub(crate) struct ResetAnswers<S, F> {
    stream: S,
    frames: Frames,
    answered: VecDeque<u32>,
    /// Not yet written, before anything else.
    pending: Vec<u8>,
    notice: F,
}

impl<S, F: Fn()> ResetAnswers<S, F> {
    /// Calls `notice` for each answer.
    pub(crate) fn new(stream: S, notice: F) -> Self {
        Self { stream, frames: Frames::default(), answered: VecDeque::new(), pending: Vec::new(), notice }
    }

    /// Follows what is about to be written, up to a reset that gets an answer: how many bytes may be written before, and its stream.
    fn look(&self, frames: &mut Frames, bytes: &[u8]) -> (usize, Option<u32>) {
        let mut at = 0;
        while at < bytes.len() {
            let skipped = frames.skip.min(bytes.len() - at);
            frames.skip -= skipped;
            at += skipped;
            if frames.skip > 0 || at == bytes.len() {
                break;
            }
            if frames.filled == 0
                && let Some(stream) = reset(&bytes[at..]).filter(|stream| !self.answered.contains(stream))
            {
                return (at, Some(stream));
            }
            let taken = (HEADER_BYTES - frames.filled).min(bytes.len() - at);
            frames.header[frames.filled..][..taken].copy_from_slice(&bytes[at..at + taken]);
            frames.filled += taken;
            at += taken;
            if frames.filled == HEADER_BYTES {
                frames.filled = 0;
                let [a, b, c, ..] = frames.header;
                frames.skip = u32::from_be_bytes([0, a, b, c]) as usize;
            }
        }
        (at, None)
    }

    /// Remembers the streams whose answer has begun.
    fn remember(&mut self, mut bytes: &[u8]) {
        let mut frames = self.frames.clone();
        while !bytes.is_empty() {
            let skipped = frames.skip.min(bytes.len());
            frames.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEADER_BYTES - frames.filled).min(bytes.len());
            if frames.skip > 0 || taken == 0 {
                break;
            }
            frames.header[frames.filled..][..taken].copy_from_slice(&bytes[..taken]);
            frames.filled += taken;
            bytes = &bytes[taken..];
            if frames.filled == HEADER_BYTES {
                frames.filled = 0;
                let [a, b, c, kind, _, rest @ ..] = frames.header;
                frames.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                let stream = u32::from_be_bytes(rest) & 0x7fff_ffff;
                if matches!(kind, HEADERS | DATA) && !self.answered.contains(&stream) {
                    self.answered.push_back(stream);
                    if self.answered.len() > MAX_ANSWERED {
                        self.answered.pop_front();
                    }
                }
            }
        }
        self.frames = frames;
    }

    fn answer(&mut self, stream: u32) {
        let mut block = vec![STATUS_400];
        for (name, value) in [(HEADER, Reason::MalformedRequest.slug()), ("x-bottle-message", MESSAGE), ("content-length", "0")] {
            // A literal field that no table remembers (RFC 7541, section 6.2.2).
            block.push(0);
            for text in [name, value] {
                integer(&mut block, text.len());
                block.extend_from_slice(text.as_bytes());
            }
        }
        frame(&mut self.pending, HEADERS, END_STREAM | END_HEADERS, stream, &block);
        // A server that has answered resets without an error (RFC 9113, section 8.1).
        frame(&mut self.pending, RST_STREAM, 0, stream, &0_u32.to_be_bytes());
        (self.notice)();
    }
}

/// The stream that a frame resets for a malformed request.
fn reset(bytes: &[u8]) -> Option<u32> {
    let (head, code) = bytes.get(..RESET_BYTES)?.split_at(HEADER_BYTES);
    let [0, 0, 4, RST_STREAM, _, stream @ ..] = head else { return None };
    (code == PROTOCOL_ERROR.to_be_bytes()).then(|| u32::from_be_bytes(stream.try_into().unwrap_or_default()) & 0x7fff_ffff)
}

/// A length with a prefix of seven bits (RFC 7541, section 5.1).
fn integer(out: &mut Vec<u8>, value: usize) {
    match u8::try_from(value) {
        Ok(short @ 0..127) => out.push(short),
        _ => {
            out.push(127);
            let mut rest = value - 127;
            while rest >= 128 {
                out.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            out.push(rest as u8);
        }
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or_default().to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
}

impl<S: AsyncWrite + Unpin, F: Fn() + Unpin> ResetAnswers<S, F> {
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.pending))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin, F: Unpin> AsyncRead for ResetAnswers<S, F> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin, F: Fn() + Unpin> AsyncWrite for ResetAnswers<S, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_pending(cx))?;
        let (before, stream) = this.look(&mut this.frames.clone(), bytes);
        if before == 0
            && let Some(stream) = stream
        {
            this.answer(stream);
            // The bytes are taken, even while the peer is not ready for them.
            return match this.poll_pending(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(RESET_BYTES)),
            };
        }
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, &bytes[..before]))?;
        this.remember(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
