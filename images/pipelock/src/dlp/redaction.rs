//! The redaction of one body: what was replaced is recorded, and what must not be changed is known by its fields.

use std::sync::Arc;

use bottle_contract::Reason;
use bottle_policy::{Leak, Place, head};
use bottle_scan::{Finding, Redacted, Redactor, Scanner};
use bottle_wire::Refused;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{self, HeaderValue};

use super::body_scan::keep;
use super::fragments::MAX_SMALL_BODY;

/// Words in the names of fields by which a receiver checks a body: `Content-Digest`, `Repr-Digest` and `Digest` (RFC 9530), `Content-MD5`,
/// `Signature` and `Signature-Input` (RFC 9421), `x-amz-content-sha256`, `x-amz-checksum-…`, `x-hub-signature-256`.
const SEALS: [&str; 7] = ["digest", "signature", "checksum", "md5", "sha256", "sha-256", "hmac"];

/// Schemes of `Authorization` whose value is made from the body.
const SEALING_SCHEMES: [&str; 2] = ["aws4-", "signature"];

/// True when a receiver would notice that the body was changed.
pub fn is_sealed(fields: &HeaderMap) -> bool {
    let names_a_seal = |text: &str| SEALS.iter().any(|word| text.contains(word));
    let lower = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    fields.keys().any(|name| names_a_seal(name.as_str()))
        || fields.get_all(header::TRAILER).iter().any(|value| names_a_seal(&lower(value)))
        || fields.get_all(header::AUTHORIZATION).iter().any(|value| SEALING_SCHEMES.iter().any(|scheme| lower(value).starts_with(scheme)))
}

/// Hears of each value that is replaced.
#[derive(Clone)]
pub struct Recorder(Arc<dyn Fn(&Redacted) + Send + Sync>);

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    /// One that calls `record`.
    pub fn new(record: impl Fn(&Redacted) + Send + Sync + 'static) -> Self {
        Self(Arc::new(record))
    }

    /// Records a value.
    pub fn record(&self, redacted: &Redacted) {
        (self.0)(redacted);
    }
}

/// What it takes to redact the body of a request.
#[derive(Clone, Debug)]
pub struct Redacts {
    scanner: Scanner,
    kind: Option<String>,
    recorder: Recorder,
}

impl Redacts {
    /// For a body of this Content-Type.
    pub fn new(scanner: &Scanner, kind: Option<&str>, recorder: Recorder) -> Self {
        Self { scanner: scanner.clone(), kind: kind.map(str::to_owned), recorder }
    }

    /// The redaction of a body that arrives in chunks.
    pub fn begin(&self) -> Redaction {
        let redactor = self.scanner.redactor(self.kind.as_deref());
        Redaction { redactor, redacts: self.clone(), count: 0, small: Vec::new() }
    }

    /// Redacts a whole body; how many values were replaced. Nothing is recorded of one that is refused.
    pub fn whole(&self, body: &[u8]) -> Result<(Vec<u8>, usize), Refused> {
        let refused = |found| Refused::from(self.leak(found, body));
        let mut redactor = self.scanner.redactor(self.kind.as_deref());
        redactor.push(body).map_err(refused)?;
        let mut out = redactor.ready();
        let (rest, redacted) = redactor.finish().map_err(refused)?;
        out.extend(rest);
        redacted.iter().for_each(|value| self.recorder.record(value));
        Ok((out, redacted.len()))
    }

    /// A finding in a body of which `text` is all.
    pub fn leak(&self, found: Finding, text: &[u8]) -> Leak {
        Leak::in_text("body", found, &self.scanner, text)
    }
}

/// A body under redaction.
#[derive(Debug)]
pub struct Redaction {
    redactor: Redactor,
    redacts: Redacts,
    count: usize,
    /// The beginning of the body, as long as that is small.
    small: Vec<u8>,
}

impl Redaction {
    /// Takes the next chunk; what may be sent.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Bytes, Refused> {
        self.redactor.push(chunk).map_err(refused)?;
        let redacted = self.redactor.redacted();
        self.count += redacted.len();
        redacted.iter().for_each(|value| self.redacts.recorder.record(value));
        let ready = self.redactor.ready();
        keep(&mut self.small, &ready);
        Ok(ready.into())
    }

    /// The end of the body: the rest that may be sent, and all of a small body.
    pub fn finish(self, trailers: Option<&HeaderMap>) -> Result<(Bytes, Vec<u8>), Refused> {
        let Self { redactor, redacts, count, mut small } = self;
        let (rest, redacted) = redactor.finish().map_err(refused)?;
        redacted.iter().for_each(|value| redacts.recorder.record(value));
        refuse_seal(count + redacted.len(), trailers)?;
        keep(&mut small, &rest);
        let small = if small.len() <= MAX_SMALL_BODY { small } else { Vec::new() };
        Ok((rest.into(), small))
    }

    /// The fields behind the body.
    pub fn trailers(&self, trailers: &HeaderMap) -> Result<(), Refused> {
        Ok(head::scan_trailers(&self.redacts.scanner, trailers)?)
    }

    /// Bytes that were taken and may not be sent yet.
    pub fn pending(&self) -> u64 {
        self.redactor.pending()
    }
}

/// Behind a body that was changed there must be nothing by which a receiver would notice.
pub fn refuse_seal(redacted: usize, trailers: Option<&HeaderMap>) -> Result<(), Refused> {
    let message = "bottle refused to send this: the body contains something that looks like a credential, and a digest follows it";
    match redacted > 0 && trailers.is_some_and(is_sealed) {
        true => Err(Refused::new(Reason::SecretDetected, message).place(Place::Trailer)),
        false => Ok(()),
    }
}

fn refused(found: Finding) -> Refused {
    Leak::in_body("body", found).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(fields: &[(&str, &str)]) -> bool {
        is_sealed(&fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect())
    }

    // covers: V04
    #[test]
    fn a_body_that_a_field_vouches_for_is_sealed() {
        for field in [
            ("content-digest", "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"),
            ("repr-digest", "sha-256=:x:"),
            ("digest", "SHA-256=x"),
            ("content-md5", "x"),
            ("signature-input", "sig1=(\"content-digest\")"),
            ("x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("x-amz-checksum-crc32", "AAAAAA=="),
            ("x-hub-signature-256", "sha256=0"),
            ("authorization", "AWS4-HMAC-SHA256 Credential=x"),
            ("trailer", "Content-Digest"),
        ] {
            assert!(sealed(&[("content-type", "application/json"), field]), "{field:?}");
        }
        let usual = [("authorization", "Bearer x"), ("anthropic-version", "2023-06-01"), ("x-stainless-lang", "js"), ("trailer", "x-note")];
        assert!(!sealed(&usual));
    }
}
