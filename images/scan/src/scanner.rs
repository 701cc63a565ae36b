//! The scanner: one for all connections of a component.

use std::sync::Arc;

use crate::engine::Engine;
use crate::finding::Finding;
use crate::fingerprint::Fingerprints;
use crate::message::{self, Message};
use crate::paths::{self, PathKind};
use crate::rules::Rules;
use crate::stream::Stream;

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

    /// What the values of a small message say together, without what stands between them: fragments for a [`Trail`].
    pub fn said(content_type: Option<&str>, body: &[u8]) -> Vec<Vec<u8>> {
        message::said_by(content_type, body)
    }

    /// Starts a scan of a message's body that arrives in chunks.
    pub fn message(&self, content_type: Option<&str>) -> Message {
        Message::new(Arc::clone(&self.engine), content_type)
    }

    /// Scans the content of a file of this name, for rules that ask for one.
    pub fn scan_file(&self, path: &str, bytes: &[u8]) -> Option<Finding> {
        let mut stream = self.file(path);
        stream.push(bytes);
        stream.finish()
    }

    /// Starts a scan of the content of a file of this name.
    pub fn file(&self, path: &str) -> Stream {
        Stream::new(Arc::clone(&self.engine), Some(path))
    }

    /// Starts a scan of a stream that arrives in chunks.
    pub fn stream(&self) -> Stream {
        Stream::new(Arc::clone(&self.engine), None)
    }

    /// True when the path of a file can change the verdict on it.
    pub fn has_path_rules(&self) -> bool {
        paths::has_rules(&self.engine)
    }

    /// True when the path of a file can excuse what stands in it.
    pub fn has_path_exceptions(&self) -> bool {
        paths::has_exceptions(&self.engine)
    }

    /// What this path means to the rules.
    pub fn path_kind(&self, path: &str) -> PathKind {
        PathKind::of(&self.engine, path)
    }
}
