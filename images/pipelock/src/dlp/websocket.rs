//! A WebSocket to an origin: what the agent writes goes out frame by frame, once it was scanned; what the origin
//! writes comes back as it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bottle_wire::{Refused, delegate};
use tokio::io::{AsyncRead, AsyncWrite};

use super::websocket_frames::Frames;

/// Told of the verdict that ended a connection, once.
type Record = Box<dyn FnOnce(&Refused) + Send>;

/// The origin's end of the connection, as the agent's end is spliced to it.
pub struct Scanned<S> {
    origin: S,
    frames: Frames,
    /// Scanned, not yet written: from `written` on.
    ready: Vec<u8>,
    written: usize,
    /// The verdict that ended this connection.
    refused: Option<Refused>,
    record: Option<Record>,
}

impl<S: AsyncWrite + Unpin> Scanned<S> {
    /// Puts `frames` before `origin`; `record` hears of a verdict.
    pub fn new(origin: S, frames: Frames, record: impl FnOnce(&Refused) + Send + 'static) -> Self {
        Self { origin, frames, ready: Vec::new(), written: 0, refused: None, record: Some(Box::new(record)) }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.ready.len() {
            let count = ready!(Pin::new(&mut self.origin).poll_write(cx, &self.ready[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        self.ready.clear();
        self.ready.shrink_to(64 << 10);
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn verdict(&self) -> io::Result<()> {
        self.refused.clone().map_or(Ok(()), |refused| Err(io::Error::other(refused)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Scanned<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.verdict()?;
        ready!(this.poll_drain(cx))?;
        if let Err(refused) = this.frames.push(bytes, &mut this.ready) {
            if let Some(record) = this.record.take() {
                record(&refused);
            }
            // What was let out before stays whole messages; the one that was refused has not begun.
            this.refused = Some(refused);
            return Poll::Ready(this.verdict().map(|()| 0));
        }
        // The bytes are taken, even while the origin is not ready for them: the next write drains first.
        if let Poll::Ready(Err(error)) = this.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.origin).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.origin).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Scanned<S> {
    delegate!(origin: poll_read);
}
