//! Streams that carry something other than HTTP messages after an upgrade.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bottle_contract::Untrusted;
use http::{Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::delegate;
use crate::http::access_log::AccessLog;
use crate::http::record::Record;
use crate::http::slots::Slot;

/// A two-way stream of bytes.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// What `Sec-WebSocket-Accept` must be for this `Sec-WebSocket-Key` (RFC 6455, section 4.2.2).
fn accept_for(key: &[u8]) -> String {
    use base64::Engine as _;
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key);
    digest.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64::engine::general_purpose::STANDARD.encode(digest.finish())
}

/// True when the 101 `response` agrees to the WebSocket that was requested with `key`.
pub fn agrees<B>(response: &Response<B>, key: &[u8]) -> bool {
    let is = |name: header::HeaderName, expected: &str| {
        let mut values = response.headers().get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.as_bytes().eq_ignore_ascii_case(expected.as_bytes()),
            _ => false,
        }
    };
    response.status() == StatusCode::SWITCHING_PROTOCOLS
        && is(header::UPGRADE, "websocket")
        && response.headers().get(header::SEC_WEBSOCKET_ACCEPT).is_some_and(|v| v.as_bytes() == accept_for(key).as_bytes())
}

/// Carries on an exchange as a tunnel once the agent has upgraded, and records it at its end.
pub(crate) async fn carry_on(agent: OnUpgrade, stream: Box<dyn Duplex>, log: AccessLog, idle: Duration, mut record: Record, slot: Slot) {
    match agent.await {
        Ok(agent) => {
            if let Some(why) = splice(TokioIo::new(agent), stream, &log, idle).await {
                record.message(why);
            }
        }
        Err(_) => record.message("the agent left before the upgrade".to_owned()),
    }
    drop(record);
    drop(slot);
}

/// Copies both ways until both have ended, one breaks, or nothing moves for `idle`. Returns why it broke.
async fn splice(agent: impl AsyncRead + AsyncWrite + Unpin, upstream: Box<dyn Duplex>, log: &AccessLog, idle: Duration) -> Option<String> {
    let mut agent = Counted { stream: agent, log };
    let mut upstream = upstream;
    // 8 KiB each way: an idle tunnel must stay small.
    let copied = tokio::io::copy_bidirectional_with_sizes(&mut agent, &mut upstream, 8 << 10, 8 << 10);
    tokio::select! {
        copied = copied => copied.err().map(|error| Untrusted::new(&error.to_string()).to_string()),
        () = log.stalled(idle) => Some(format!("nothing moved for {} ms", idle.as_millis())),
    }
}

/// Counts what the agent sends and receives.
struct Counted<'n, S> {
    stream: S,
    log: &'n AccessLog,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<'_, S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_ready() {
            self.log.add_sent(buf.filled().len() - before);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            self.log.add_received(written);
        }
        polled
    }

    delegate!(stream: poll_flush, poll_shutdown);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_holds() {
        assert_eq!(accept_for(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    // covers: H10
    #[test]
    fn a_101_that_agrees_to_something_else_is_no_tunnel() {
        let response = |upgrade: &str, accept: &str| {
            Response::builder().status(101).header("upgrade", upgrade).header("sec-websocket-accept", accept).body(()).unwrap()
        };
        let key = b"dGhlIHNhbXBsZSBub25jZQ==";
        assert!(agrees(&response("WebSocket", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), key));
        assert!(!agrees(&response("h2c", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), key));
        assert!(!agrees(&response("websocket", "AAAA"), key));
    }
}
