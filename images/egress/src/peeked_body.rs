//! The beginning of a body that is held: a small body is read whole, so that the question about it can name its digest. It is sent unchanged.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::digest::{Context as Sha256, SHA256};
use bottle_wire::Body;
use bottle_wire::body::BodyError;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

/// Bytes of a body that is read whole.
pub(crate) const MAX_BYTES: usize = 64 * 1024;
/// For all of it to arrive. A body that is slower is asked about without its digest.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// What is known of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    /// Its length: all of it, or as it was announced.
    pub(crate) bytes: Option<u64>,
    /// Its digest, if all of it was read.
    pub(crate) sha256: Option<String>,
}

/// Reads the beginning of a body.
pub(crate) async fn peek(body: Body) -> (Body, Digest) {
    let announced = body.size_hint().exact();
    if announced.is_some_and(|bytes| bytes > MAX_BYTES as u64) {
        return (body, Digest { bytes: announced, sha256: None });
    }
    let mut peeked = Peeked { frames: VecDeque::new(), rest: Some(body), failure: None };
    let (mut digest, mut bytes) = (Sha256::new(&SHA256), 0usize);
    let read = async {
        while bytes <= MAX_BYTES {
            let Some(rest) = &mut peeked.rest else { return true };
            match rest.frame().await {
                None => {
                    peeked.rest = None;
                    return true;
                }
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        digest.update(data);
                        bytes += data.len();
                    }
                    peeked.frames.push_back(frame);
                }
                Some(Err(error)) => {
                    peeked.rest = None;
                    peeked.failure = Some(error);
                    return false;
                }
            }
        }
        false
    };
    let is_whole = tokio::time::timeout(BODY_TIMEOUT, read).await.unwrap_or(false);
    let known = match is_whole {
        true => Digest { bytes: Some(bytes as u64), sha256: Some(hex(digest.finish().as_ref())) },
        false => Digest { bytes: announced, sha256: None },
    };
    (peeked.boxed(), known)
}

/// The digest of bytes, in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).map(char::from).collect()
}

/// What was read, then the rest.
struct Peeked {
    frames: VecDeque<Frame<Bytes>>,
    rest: Option<Body>,
    failure: Option<BodyError>,
}

impl http_body::Body for Peeked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.failure.is_none() && self.rest.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.frames.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
        let rest = match (&self.rest, &self.failure) {
            (Some(rest), _) => rest.size_hint(),
            (None, None) => SizeHint::with_exact(0),
            (None, Some(_)) => SizeHint::new(),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(read + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(read + upper);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use bottle_wire::body;

    use super::*;

    async fn sent(body: Body) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_small_body_is_known_whole_and_sent_unchanged() {
        let (body, digest) = peek(body::full("abc")).await;
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest, Digest { bytes: Some(3), sha256: Some(expected.into()) });
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(sent(body).await, "abc");
        let (none, digest) = peek(body::empty()).await;
        assert_eq!((digest.bytes, none.is_end_stream()), (Some(0), true));
    }

    #[tokio::test]
    async fn a_large_body_is_not_read_ahead() {
        let large = vec![7; MAX_BYTES + 1];
        let (body, digest) = peek(body::full(large.clone())).await;
        assert_eq!(digest, Digest { bytes: Some(large.len() as u64), sha256: None });
        assert_eq!(sent(body).await, large);
    }
}
