//! What is sent: a body from memory, or one of any length that is never in memory whole.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// Text, so that a scanner on the way takes it for what it is.
static BLOCK: LazyLock<Bytes> = LazyLock::new(|| {
    let line = b"The quick brown fox jumps over the lazy dog and finds the far end.\n";
    line.iter().copied().cycle().take(64 << 10).collect()
});

/// A body to be sent many times.
pub(crate) enum Payload {
    /// These bytes.
    Whole(Bytes),
    /// So many bytes of text.
    Pattern(u64),
}

impl Payload {
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Pattern(length) => *length,
        }
    }

    pub(crate) fn body(&self) -> Sent {
        match self {
            Self::Whole(bytes) => Sent { block: bytes.clone(), left: bytes.len() as u64 },
            Self::Pattern(length) => Sent { block: BLOCK.clone(), left: *length },
        }
    }
}

/// One sending of it.
pub(crate) struct Sent {
    block: Bytes,
    left: u64,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let size = self.left.min(self.block.len() as u64);
        self.left -= size;
        Poll::Ready(Some(Ok(Frame::data(self.block.slice(..size as usize)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
