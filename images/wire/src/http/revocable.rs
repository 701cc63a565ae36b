//! Streams and bodies that end once what allowed them is no longer in force.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bottle_policy::Refused;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::delegate;
use crate::http::body::{Body, BodyError};
use crate::http::tunnel::Duplex;

/// Ready when the permission has ended.
pub type Revoked = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// A stream until it is revoked. Whoever carries it on always reads it, and so notices at once.
pub struct RevocableStream {
    stream: Box<dyn Duplex>,
    /// Gone once it has come true.
    revoked: Option<Revoked>,
}

impl RevocableStream {
    /// Ends `stream` when `revoked` is ready.
    pub fn new(stream: Box<dyn Duplex>, revoked: Revoked) -> Self {
        Self { stream, revoked: Some(revoked) }
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.revoked.as_mut().is_none_or(|revoked| revoked.as_mut().poll(cx).is_ready()) {
            self.revoked = None;
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the route that allowed it has ended"));
        }
        Ok(())
    }
}

impl AsyncRead for RevocableStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_ended(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for RevocableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_ended(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    delegate!(stream: poll_flush, poll_shutdown);
}

/// A body until it is revoked.
pub struct RevocableBody {
    body: Body,
    revoked: Revoked,
    /// What it then ends with.
    refused: Refused,
}

impl RevocableBody {
    /// Ends `body` with `refused` when `revoked` is ready.
    pub fn new(body: Body, revoked: Revoked, refused: Refused) -> Self {
        Self { body, revoked, refused }
    }
}

impl http_body::Body for RevocableBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.revoked.as_mut().poll(cx).is_ready() {
            // A future must not be polled after it was ready.
            self.revoked = Box::pin(std::future::ready(()));
            return Poll::Ready(Some(Err(self.refused.clone().into())));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use bottle_contract::reason::Reason;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;
    use crate::http::body;

    fn revocation() -> (oneshot::Sender<()>, Revoked) {
        let (revoke, revoked) = oneshot::channel();
        (revoke, Box::pin(async move { drop(revoked.await) }))
    }

    #[tokio::test]
    async fn a_reader_that_waits_learns_at_once_that_its_stream_is_revoked() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let (revoke, revoked) = revocation();
        let mut stream = RevocableStream::new(Box::new(ours), revoked);
        theirs.write_all(b"x").await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        let reading = tokio::spawn(async move { (stream.read(&mut [0]).await, stream.write(b"y").await) });
        tokio::task::yield_now().await;
        revoke.send(()).unwrap();
        let (read, written) = reading.await.unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(theirs.read(&mut byte).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_body_that_is_revoked_ends_with_the_reason() {
        let refused = Refused::new(Reason::GrantEnded, "it has ended");
        let (revoke, revoked) = revocation();
        revoke.send(()).unwrap();
        let mut ended = RevocableBody::new(body::full("x"), revoked, refused.clone());
        for _ in 0..2 {
            let error = ended.frame().await.unwrap().unwrap_err();
            assert_eq!(body::refusal_in(&error), Some(&refused));
        }
        let (_revoke, revoked) = revocation();
        let whole = RevocableBody::new(body::full("x"), revoked, refused).collect().await.unwrap();
        assert_eq!(whole.to_bytes(), "x");
    }
}
