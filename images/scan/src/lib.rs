//! The scanner that pipelock, git-gate and supervise share: secrets and secret-shaped values in bytes of any kind.

pub mod fingerprint;

pub use fingerprint::Fingerprints;

use std::sync::Arc;

/// What was found, and where. It never holds the value itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule's id, as `github-pat` or `bottle-secret`.
    pub rule: String,
    /// The offset of the match's first byte in what was scanned (in the raw bytes, also when found in a decoded form).
    pub offset: u64,
    /// How it was encoded, outermost first, as `["base64", "gzip"]`; empty for plain.
    pub encodings: Vec<&'static str>,
}

/// Rules and fingerprints, ready to scan. Cheap to clone, shared by all connections.
#[derive(Clone, Debug)]
pub struct Scanner {
    inner: Arc<()>,
}

impl Scanner {
    /// The built-in rules and a bottle's own secrets.
    pub fn new(_secrets: Fingerprints) -> Result<Self, String> {
        Ok(Self { inner: Arc::new(()) })
    }

    /// Scans a whole value: the first finding decides.
    pub fn scan(&self, _bytes: &[u8]) -> Option<Finding> {
        let _ = &self.inner;
        None
    }

    /// Starts a scan of a stream that arrives in pieces.
    pub fn stream(&self) -> Stream {
        Stream { scanner: self.clone(), offset: 0 }
    }
}

/// A scan under way. The answer does not depend on where the pieces were cut.
#[derive(Debug)]
pub struct Stream {
    scanner: Scanner,
    offset: u64,
}

impl Stream {
    /// Scans the next piece together with what must be remembered of the last ones.
    pub fn push(&mut self, piece: &[u8]) -> Option<Finding> {
        self.offset += piece.len() as u64;
        self.scanner.scan(piece)
    }

    /// The end of the stream: what was held back is scanned too.
    pub fn finish(self) -> Option<Finding> {
        None
    }
}
