//! Detects the protocol of a connection by its first bytes, which stay readable.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::delegate;

/// What every HTTP/2 connection starts with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first bytes have been read already.
#[derive(Debug)]
pub(crate) struct Prefixed<S> {
    first: Bytes,
    stream: S,
}

impl<S> Prefixed<S> {
    pub(crate) fn new(first: Bytes, stream: S) -> Self {
        Self { first, stream }
    }
}

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    Tls,
    /// It ended before its first byte.
    Nothing,
}

/// Reads until the protocol is known. TLS is recognised by the record type of a handshake and the major version
/// of every TLS record (RFC 8446, section 5.1).
pub(crate) async fn detect_protocol<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(Protocol, Prefixed<S>)> {
    let mut first = BytesMut::with_capacity(1024);
    let protocol = loop {
        if stream.read_buf(&mut first).await? == 0 {
            break if first.is_empty() { Protocol::Nothing } else { Protocol::Http1 };
        }
        match first[0] {
            0x16 if first.len() == 1 => {}
            0x16 if first[1] == 3 => break Protocol::Tls,
            _ if first.starts_with(PREFACE) => break Protocol::Http2,
            _ if PREFACE.starts_with(&first) => {}
            _ => break Protocol::Http1,
        }
    };
    Ok((protocol, Prefixed::new(first.freeze(), stream)))
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let taken = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..taken]);
        self.first.advance(taken);
        if self.first.is_empty() {
            self.first = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    delegate!(stream: poll_write, poll_write_vectored, poll_flush, poll_shutdown);
}
