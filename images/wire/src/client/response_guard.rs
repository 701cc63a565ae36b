//! What an origin's HTTP/1 connection gets wrong, and how far that is repaired.
//!
//! A proxy removes whitespace between a field's name and its colon, and unfolds folded lines (RFC 9112, sections 5.1 and 5.2); hyper does
//! both when it is asked to. Never for the fields that frame the answer: there, two readers would see two answers. And origins that only
//! hang up behind an answer without a length are believed, as browsers do, and noted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::delegate;

/// So much of a line is looked at: the longest name that matters, and what may stand behind it.
const MAX_LINE: usize = 64;

/// What the sender and its connection say to each other.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// A request was sent: the next byte belongs to a head.
    head_is_due: AtomicBool,
    /// TLS ended without a `close_notify`.
    cut_off: AtomicBool,
}

impl Signals {
    pub(super) fn request_sent(&self) {
        self.head_is_due.store(true, Ordering::Release);
    }

    pub(super) fn was_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Acquire)
    }
}

/// Watches the heads in what is read from `S`.
pub(super) struct ResponseGuard<S> {
    stream: S,
    signals: Arc<Signals>,
    heads: Heads,
}

/// Where in a head we are.
#[derive(Clone, Debug, Default)]
struct Heads {
    in_head: bool,
    /// The status line has passed.
    in_fields: bool,
    /// The status is one that another head follows.
    is_interim: bool,
    /// The line before this one is a field that frames the answer.
    behind_framing: bool,
    /// The beginning of this line.
    line: Vec<u8>,
}

impl<S> ResponseGuard<S> {
    pub(super) fn new(stream: S, signals: Arc<Signals>) -> Self {
        Self { stream, signals, heads: Heads::default() }
    }
}

fn frames(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"transfer-encoding") || name.eq_ignore_ascii_case(b"content-length")
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Heads {
    fn begin(&mut self) {
        *self = Self { in_head: true, line: std::mem::take(&mut self.line), ..Self::default() };
        self.line.clear();
    }

    fn follow(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while self.in_head && !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest);
            let part = &rest[..end.unwrap_or(rest.len())];
            let room = MAX_LINE.saturating_sub(self.line.len()).min(part.len());
            self.line.extend_from_slice(&part[..room]);
            if end.is_none() {
                // What is known of the line by now must not wait for its end.
                return self.look();
            }
            self.look()?;
            self.end_line();
            rest = &rest[part.len() + 1..];
        }
        Ok(())
    }

    /// Looks at a line of which the beginning is there.
    fn look(&self) -> io::Result<()> {
        let line = self.line.trim_ascii_end();
        if !self.in_fields || line.is_empty() {
            return Ok(());
        }
        if self.line.starts_with(b" ") || self.line.starts_with(b"\t") {
            return if self.behind_framing { Err(bad("the answer folds a field that frames it")) } else { Ok(()) };
        }
        let name = self.line.split(|b| *b == b':').next().unwrap_or_default();
        let spaced = name.ends_with(b" ") || name.ends_with(b"\t");
        if spaced && frames(name.trim_ascii_end()) {
            return Err(bad("the answer has a space behind the name of a field that frames it"));
        }
        Ok(())
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = line.trim_ascii_end();
        if text.is_empty() {
            // Another head follows an interim one.
            let interim = self.is_interim;
            self.in_head = false;
            if interim {
                self.begin();
            }
        } else if !self.in_fields {
            let status = text.get(9..12).unwrap_or_default();
            self.is_interim = status.starts_with(b"1") && status != b"101";
            self.in_fields = true;
        } else if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            self.behind_framing = frames(text.split(|b| *b == b':').next().unwrap_or_default());
        }
        self.line = line;
        self.line.clear();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ResponseGuard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        match ready!(Pin::new(&mut this.stream).poll_read(cx, buf)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                // Only an answer without a length ends here; of any other, hyper knows what is missing.
                this.signals.cut_off.store(true, Ordering::Release);
                buf.set_filled(before);
                return Poll::Ready(Ok(()));
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
        if this.signals.head_is_due.swap(false, Ordering::AcqRel) {
            this.heads.begin();
        }
        if this.heads.in_head
            && let Err(error) = this.heads.follow(&buf.filled()[before..])
        {
            buf.set_filled(before);
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ResponseGuard<S> {
    delegate!(stream: poll_write, poll_write_vectored, poll_flush, poll_shutdown);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(head: &str, size: usize) -> Result<bool, String> {
        let mut heads = Heads::default();
        heads.begin();
        for part in head.as_bytes().chunks(size) {
            heads.follow(part).map_err(|error| error.to_string())?;
        }
        Ok(heads.in_head)
    }

    // covers: V31
    #[test]
    fn only_the_fields_that_frame_an_answer_must_be_spelled_exactly() {
        for (fields, passes) in [
            ("X-Cache : HIT\r\nContent-Length: 3\r\n", true),
            ("X-Long: a\r\n b\r\nContent-Length: 3\r\n", true),
            ("Content-Length : 3\r\n", false),
            ("content-length\t: 3\r\n", false),
            ("Transfer-Encoding : chunked\r\n", false),
            ("Transfer-Encoding:\r\n chunked\r\n", false),
            ("Content-Length: 1\r\n\t0\r\n", false),
            ("X-Transfer-Encoding : x\r\n", true),
            ("X: y\r\n folded\r\nTransfer-Encoding : chunked\r\n", false),
            ("Transfer-Encoding: chunked\r\nX: y\r\n folded\r\n", true),
        ] {
            for interim in ["", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"] {
                let head = format!("{interim}HTTP/1.1 200 OK\r\n{fields}\r\nTransfer-Encoding : body\r\n");
                for size in [1, 7, usize::MAX] {
                    assert_eq!(follow(&head, size).map_err(|_| ()), if passes { Ok(false) } else { Err(()) }, "{head} by {size}");
                }
            }
        }
    }
}
