//! The scanner that pipelock, git-gate and supervise share: secrets and secret-shaped values in bytes of any kind.
//!
//! ```text
//! bytes ──▶ Stream (windows) ──▶ Job::view ──▶ fingerprints   a bottle's own secrets, as keyed hashes
//!                                    │    ──▶ keywords ──▶ rules   one pass; an expression only where a keyword stands
//!                                    └────▶ decode::* ──▶ Job::view   one layer less, within a budget
//! ```
//!
//! Invariants: no I/O, no clock, no `unsafe`; a finding never holds the value; the answer does not depend on how a
//! stream was cut; what cannot be scanned is a finding too, so a caller that knows nothing of it still refuses.

mod answer;
mod decode;
mod engine;
pub mod fingerprint;
#[cfg(fuzzing)]
pub mod fuzzing;
mod job;
mod keywords;
mod message;
mod paths;
mod prefilter;
mod rules;
mod stream;
mod structure;
mod trail;

use std::sync::Arc;

pub use answer::{AnswerReader, Suspicion};
pub use fingerprint::{Fingerprints, Weak};
pub use message::{Message, Said};
pub use paths::PathKind;
pub use rules::Rules;
pub use stream::Stream;
pub use trail::{LONGEST_PIECE, Trail};

use engine::Engine;

/// The rule id of a bottle's own secret.
pub const BOTTLE_SECRET: &str = "bottle-secret";
/// The rule id of a value that was put into the bottle as bait.
pub const HONEYTOKEN: &str = "honeytoken";
/// The rule id of content that could not be scanned to its end: a bomb, or encodings nested too deep.
pub const NOT_SCANNABLE: &str = "not-scannable";

/// What was found, and where. It never holds the value itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule's id, as `github-pat` or `bottle-secret`.
    pub rule: String,
    /// The offset of the match's first byte in what was scanned. For a match in a decoded form: of the first byte of
    /// the encoded stretch.
    pub offset: u64,
    /// How it was encoded, outermost first, as `["base64", "gzip"]`; empty for plain.
    pub encodings: Vec<&'static str>,
}

impl Finding {
    pub(crate) fn not_scannable(offset: u64, why: &'static str) -> Self {
        Self { rule: NOT_SCANNABLE.to_owned(), offset, encodings: vec![why] }
    }

    /// The view of a message in which it was found, as `json values`, if it stands in no raw bytes.
    pub fn view(&self) -> Option<&'static str> {
        self.encodings.first().copied().filter(|first| structure::VIEWS.contains(first))
    }

    /// True when nothing was found, but not everything could be read: refuse, with another reason than for a secret.
    pub fn is_not_scannable(&self) -> bool {
        self.rule == NOT_SCANNABLE
    }
}

/// Rules and fingerprints, ready to scan. Cheap to clone, shared by all connections.
#[derive(Clone, Debug)]
pub struct Scanner {
    engine: Arc<Engine>,
}

impl Scanner {
    /// The built-in rules and a bottle's own secrets.
    pub fn new(secrets: Fingerprints) -> Result<Self, String> {
        Self::with_rules(Rules::built_in()?, secrets)
    }

    /// Rules of one's own choice and a bottle's own secrets.
    pub fn with_rules(rules: Rules, secrets: Fingerprints) -> Result<Self, String> {
        Ok(Self { engine: Arc::new(Engine::new(rules, secrets)?) })
    }

    /// Scans a whole value: the first finding decides.
    pub fn scan(&self, bytes: &[u8]) -> Option<Finding> {
        let mut stream = self.stream();
        stream.push(bytes);
        stream.finish()
    }

    /// Scans a whole message's body: its raw bytes first, then what its type lets it say: values and keys of JSON, fields
    /// of forms, parts and their headers, text of XML, each joined, so that a secret split over them is found.
    pub fn scan_message(&self, content_type: Option<&str>, body: &[u8]) -> Option<Finding> {
        let mut message = self.message(content_type);
        message.push(body).or_else(|| message.finish())
    }

    /// What the values of a small message say together, without what stands between them: pieces for a [`Trail`].
    pub fn said(content_type: Option<&str>, body: &[u8]) -> Vec<Vec<u8>> {
        message::said_by(content_type, body)
    }

    /// Starts a scan of a message's body that arrives in pieces.
    pub fn message(&self, content_type: Option<&str>) -> Message {
        Message::new(self.clone(), content_type)
    }

    /// Scans the content of a file of this name, for rules that ask for one.
    pub fn scan_file(&self, path: &str, bytes: &[u8]) -> Option<Finding> {
        let mut stream = self.file(path);
        stream.push(bytes);
        stream.finish()
    }

    /// Starts a scan of the content of a file of this name.
    pub fn file(&self, path: &str) -> Stream {
        Stream::new(self.clone(), Some(path))
    }

    /// Starts a scan of a stream that arrives in pieces.
    pub fn stream(&self) -> Stream {
        Stream::new(self.clone(), None)
    }
}
