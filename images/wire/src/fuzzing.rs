//! What the fuzz targets reach into: the recogniser of framing, and the first bytes of a connection. Not part of any
//! build but theirs.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};

use crate::framing::{FramingGuard, HeadLimits};

/// Bytes that arrive in chunks of one size.
struct Chunks<'b> {
    left: &'b [u8],
    size: usize,
}

impl AsyncRead for Chunks<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let taken = self.left.len().min(self.size).min(buf.remaining());
        buf.put_slice(&self.left[..taken]);
        self.left = &self.left[taken..];
        Poll::Ready(Ok(()))
    }
}

/// What the recogniser lets pass of a connection that arrives in chunks of `size`, and whether it ended with an error.
pub fn passed(bytes: &[u8], size: usize) -> (Vec<u8>, bool) {
    let mut guard = FramingGuard::new(Chunks { left: bytes, size: size.max(1) }, HeadLimits { bytes: 4096, fields: 32 });
    let mut cx = Context::from_waker(Waker::noop());
    let mut out = Vec::new();
    loop {
        let mut room = [0; 8192];
        let mut buf = ReadBuf::new(&mut room);
        match Pin::new(&mut guard).poll_read(&mut cx, &mut buf) {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => out.extend_from_slice(buf.filled()),
            // The end, or a violation that waits for its answer.
            Poll::Ready(Ok(())) | Poll::Pending => return (out, false),
            Poll::Ready(Err(_)) => return (out, true),
        }
    }
}

/// Reads the beginning of a tunnel as the interception does: what it speaks, and the server name of its first message.
pub fn hello(bytes: &[u8], size: usize) -> Option<String> {
    let mut left = bytes;
    let mut acceptor = tokio_rustls::rustls::server::Acceptor::default();
    while !left.is_empty() {
        let taken = left.len().min(size.max(1));
        let mut chunk = &left[..taken];
        acceptor.read_tls(&mut chunk).ok()?;
        left = &left[taken - chunk.len()..];
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let name = accepted.client_hello().server_name().map(str::to_owned);
                let _ = name.as_deref().map(bottle_contract::host::Host::parse);
                return Some(name.unwrap_or_default());
            }
            Ok(None) => {}
            Err(_) => return None,
        }
    }
    None
}
