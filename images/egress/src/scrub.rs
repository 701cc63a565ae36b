//! Blanks a credential that an origin echoes, so that it never enters the bottle.
//!
//! Each occurrence becomes as many asterisks: lengths stay true, and so do `Content-Length` and WebSocket frames. Of a
//! stream, only an end that tells the beginning of a secret waits for what follows; so the end of a message is not
//! delayed. Of a secret that is split within its first bytes, these few pass, and the rest does not.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bottle_wire::secret::Redactor;
use bottle_wire::{AccessLog, Body, BodyError};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Frame, SizeHint};

/// Finds secrets in one stream.
pub(crate) struct Scrubber {
    redactor: Arc<Redactor>,
    /// The beginning of a secret, at the end of what has come.
    held: Vec<u8>,
    /// The last bytes that passed: too few to tell whether a secret began there.
    passed: Vec<u8>,
    log: AccessLog,
    found: usize,
}

impl Scrubber {
    pub(crate) fn new(redactor: Arc<Redactor>, log: AccessLog) -> Self {
        Self { redactor, held: Vec::new(), passed: Vec::new(), log, found: 0 }
    }

    /// What may pass now that `chunk` has come.
    pub(crate) fn pass(&mut self, chunk: Bytes) -> Bytes {
        if self.held.is_empty() && !self.redactor.occurs(&chunk) && !self.goes_on_in(&chunk) {
            let kept = self.redactor.pending_bytes(&chunk);
            self.held.extend_from_slice(&chunk[chunk.len() - kept..]);
            let out = chunk.slice(..chunk.len() - kept);
            self.remember(&out);
            return out;
        }
        let before = self.passed.len();
        let mut all = [std::mem::take(&mut self.passed), std::mem::take(&mut self.held)].concat();
        all.extend_from_slice(&chunk);
        let known = all[..before].to_vec();
        self.blank(&mut all);
        let kept = self.redactor.pending_bytes(&all).min(all.len() - before);
        self.held = all.split_off(all.len() - kept);
        let out = Bytes::from(all).slice(before..);
        self.passed = known;
        self.remember(&out);
        out
    }

    /// Whether a secret that began in what has passed may go on in `chunk`.
    fn goes_on_in(&self, chunk: &[u8]) -> bool {
        if self.passed.is_empty() {
            return false;
        }
        let border = [&self.passed, &chunk[..chunk.len().min(self.redactor.longest())]].concat();
        self.redactor.occurs(&border) || self.redactor.pending_bytes(&border) > border.len() - self.passed.len()
    }

    fn remember(&mut self, out: &[u8]) {
        self.passed.extend_from_slice(&out[out.len().saturating_sub(Redactor::PREFIX_BYTES - 1)..]);
        self.passed.drain(..self.passed.len().saturating_sub(Redactor::PREFIX_BYTES - 1));
    }

    /// What is left when nothing follows: a part of a secret, which is not the secret.
    pub(crate) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.held).into()
    }

    fn blank(&mut self, bytes: &mut [u8]) {
        let found = self.redactor.blank(bytes);
        if found > 0 {
            self.found += found;
            let message = format!("the origin echoed the credential; {} occurrences were blanked", self.found);
            self.log.update(|entry| entry.message = Some(message));
        }
    }
}

/// Blanks header or trailer fields.
pub(crate) fn fields(redactor: &Redactor, headers: &mut HeaderMap, log: &AccessLog) {
    let mut found = 0;
    for value in headers.values_mut().filter(|value| redactor.occurs(value.as_bytes())) {
        let mut bytes = value.as_bytes().to_vec();
        found += redactor.blank(&mut bytes);
        // Asterisks are valid where a header's bytes were.
        *value = HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static("*"));
    }
    if found > 0 {
        log.update(|entry| entry.message = Some(format!("the origin echoed the credential in headers; {found} occurrences were blanked")));
    }
}

/// A body without the secret.
pub(crate) struct ScrubbedBody {
    pub(crate) body: Body,
    pub(crate) scrubber: Scrubber,
    /// Trailers that wait until the held bytes are out.
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) ended: bool,
}

impl http_body::Body for ScrubbedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(trailers) = self.trailers.take() {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => {
                    let passed = self.scrubber.pass(data);
                    if !passed.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(passed))));
                    }
                    continue;
                }
                Some(Err(frame)) => {
                    self.trailers = frame.into_trailers().ok().map(|mut trailers| {
                        fields(&self.scrubber.redactor, &mut trailers, &self.scrubber.log);
                        trailers
                    });
                }
                None => {}
            }
            self.ended = true;
            let rest = self.scrubber.rest();
            if !rest.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(rest))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.scrubber.held.is_empty() && self.trailers.is_none() && (self.ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.scrubber.held.len() as u64;
        let inner = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + held);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + held);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubber(secrets: &[&str]) -> Scrubber {
        Scrubber::new(Arc::new(Redactor::new(secrets.iter().map(|s| s.as_bytes().to_vec())).unwrap()), AccessLog::default())
    }

    fn scrub(secrets: &[&str], chunks: &[&str]) -> Vec<String> {
        let mut scrubber = scrubber(secrets);
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let mut out: Vec<_> = chunks.iter().map(|chunk| text(scrubber.pass(Bytes::copy_from_slice(chunk.as_bytes())))).collect();
        out.push(text(scrubber.rest()));
        out
    }

    // covers: S10
    #[test]
    fn a_secret_is_blanked_wherever_chunks_split_it() {
        let text = "say s3cr3t-s3cr3t, s3cr3 and s3cs3cr3t";
        let blanked = "say ******-******, s3cr3 and s3c******";
        for at in 0..=text.len() {
            for to in at..=text.len() {
                // Of a secret that is cut before it can be told, what stands before the cut has passed.
                let mut expected = blanked.to_owned();
                for (start, _) in text.match_indices("s3cr3t") {
                    let cut =
                        [at, to].into_iter().filter(|cut| (start + 1..start + Redactor::PREFIX_BYTES).contains(cut)).max().unwrap_or(start);
                    expected.replace_range(start..cut, &text[start..cut]);
                }
                let passed = scrub(&["s3cr3t"], &[&text[..at], &text[at..to], &text[to..]]).concat();
                assert_eq!(passed, expected, "{at} {to}");
            }
        }
        assert_eq!(scrub(&["aaaab"], &["aaaaab", "aaaa", "ab"]).concat(), "a*****a*****");
        assert_eq!(scrub(&["user:password", "password"], &["password user:pass", "word"]).concat(), "******** *************");
    }

    // covers: D12 S10
    #[test]
    fn a_secret_is_blanked_in_every_form_that_an_origin_may_give_it() {
        let secret = "tok/3n-Kq8+vB5zW1xR7";
        let base64 = |before: &str| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(format!("{before}{secret}"))
        };
        let hex: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
        let texts =
            [secret.replace('/', "\\/"), secret.replace('/', "%2F").replace('+', "%2B"), hex, base64(""), base64("u:"), base64("a")];
        for text in texts.into_iter().chain([secret.to_lowercase(), secret.chars().rev().collect()]) {
            let passed = scrub(&[secret], &[&text[..5], &text[5..]]).concat();
            let left: String = passed.chars().filter(|c| *c != '*').collect();
            // Of base64, a digit or two on either side also hold bits of what stands beside the secret; and the cut lets a few pass.
            assert!(left.len() < 6 + Redactor::PREFIX_BYTES && passed.len() == text.len(), "{text} became {passed}");
        }
    }

    #[test]
    fn only_what_may_become_a_secret_waits() {
        assert_eq!(scrub(&["s3cr3t"], &["data: s3\n\n", "data: s3", "", "cr", "!"]), ["data: s3\n\n", "data: s3", "", "", "cr!", ""]);
        assert_eq!(scrub(&["s3cr3t"], &["data: s3cr", "", "et", "s3cr", "3t"]), ["data: ", "", "s3cret", "", "******", ""]);
    }

    #[test]
    fn what_was_blanked_is_counted() {
        let mut scrubber = scrubber(&["s3cr3t"]);
        scrubber.pass(Bytes::from_static(b"s3cr3t s3c"));
        scrubber.pass(Bytes::from_static(b"r3t"));
        assert_eq!(scrubber.log.entry().message.as_deref(), Some("the origin echoed the credential; 2 occurrences were blanked"));
    }
}
