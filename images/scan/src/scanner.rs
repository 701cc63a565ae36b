//! The scanner: one for all connections of a component.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use crate::engine::Engine;
use crate::finding::Finding;
use crate::fingerprint::Fingerprints;
use crate::known::{self, Known};
use crate::limits::budget;
use crate::message::{self, Message};
use crate::paths::{self, PathKind};
use crate::redaction::locator::Locator;
use crate::redactor::Redactor;
use crate::rules::Rules;
use crate::stream::Stream;
use crate::window::{Exact, Exempt, Hit, Stop, WindowScan};

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
        Self::with_exceptions(rules, secrets, HashSet::new())
    }

    /// The same, with values that are no findings of the rules, by [`crate::Known`]'s digest. The bottle's own secrets stay findings.
    pub fn with_exceptions(rules: Rules, secrets: Fingerprints, excepted: HashSet<[u8; 32]>) -> Result<Self, String> {
        Ok(Self { engine: Arc::new(Engine::new(rules, secrets, excepted)?) })
    }

    /// Scans a whole value: the first finding decides.
    pub fn scan(&self, bytes: &[u8]) -> Option<Finding> {
        let mut stream = self.stream();
        stream.push(bytes);
        stream.finish()
    }

    /// The same, with exemptions that hold in this text alone.
    pub fn scan_except(&self, bytes: &[u8], exempt: &[Exempt]) -> Option<Finding> {
        if exempt.is_empty() {
            return self.scan(bytes);
        }
        hit(&self.engine, bytes, exempt).map(|hit| hit.finding)
    }

    /// What may be told of a finding in this text: the place of the field in its JSON, as `messages[3].content`, and the value without the
    /// value; each as far as it is known to the byte.
    pub fn tell(&self, text: &[u8], finding: &Finding) -> (Option<String>, Option<Known>) {
        let exact = hit(&self.engine, text, &[]).filter(|hit| hit.finding == *finding).and_then(|hit| hit.exact);
        // Of a block of lines, nothing is told that has no end.
        let value = exact.and_then(|Exact { value, is_block, .. }| {
            let end = if is_block { known::end_of_block(text, value.end)? } else { value.end };
            Some(value.start..end)
        });
        let offset = usize::try_from(finding.offset).ok().filter(|offset| *offset < text.len() && finding.view().is_none());
        let spot = offset.and_then(|at| Locator::default().spot(text, &(at..at + 1)));
        let value = value.map(|range| &text[range]);
        let may_be_told = |place: &String| {
            let repeats = value.is_some_and(|value| memchr::memmem::find(place.as_bytes(), value).is_some());
            !place.is_empty() && !repeats && self.scan(place.as_bytes()).is_none()
        };
        let place = spot.map(|spot| spot.place).filter(may_be_told);
        (place, value.map(|value| Known::of(&finding.rule, value)))
    }

    /// True when `rule` finds a value of this digest (see [`Known`]) in a text, wherever it stands, as it is or encoded. One of the bottle's own
    /// secrets has none.
    pub fn knows(&self, text: &[u8], rule: &str, digest: &str) -> bool {
        let seen = RefCell::new(Vec::new());
        // What cannot be read to its end is searched as far as it can be.
        let _ = WindowScan::new(&self.engine, None, budget(text.len() as u64), 0).listing(&seen).view(text);
        seen.into_inner().iter().any(|(found, known)| found == rule && known.digest.as_deref() == Some(digest))
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

    /// Starts a scan of a JSON body that has what is found in it replaced.
    pub fn redactor(&self, content_type: Option<&str>) -> Redactor {
        Redactor::new(Arc::clone(&self.engine), content_type)
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

/// What is found in a text that is one window.
fn hit(engine: &Engine, text: &[u8], exempt: &[Exempt]) -> Option<Hit> {
    match WindowScan::new(engine, None, budget(text.len() as u64), 0).exempting(exempt).view(text) {
        Ok(()) => None,
        Err(Stop::Found(hit)) => Some(*hit),
        Err(Stop::NotScannable(why)) => Some(Hit { finding: Finding::not_scannable(0, why), exact: None }),
    }
}
