//! A JSON body under scan that has what is found in it replaced, as it arrives.

use std::sync::Arc;

use crate::engine::Engine;
use crate::finding::Finding;
use crate::message::Said;
use crate::redaction::Redacted;
use crate::stream::Stream;

/// A scan of one body that lets redacted bytes out, as many as it took. They passed every check of a [`crate::Message`]: what the body says is
/// read from the redacted bytes.
#[derive(Debug)]
pub struct Redactor {
    raw: Stream,
    said: Said,
    /// Redacted, and not yet let out.
    held: Vec<u8>,
    taken: u64,
    released: u64,
    redacted: Vec<Redacted>,
}

impl Redactor {
    pub(crate) fn new(engine: Arc<Engine>, content_type: Option<&str>) -> Self {
        let raw = Stream::redacting(Arc::clone(&engine));
        Self { raw, said: Said::new(engine, content_type), held: Vec::new(), taken: 0, released: 0, redacted: Vec::new() }
    }

    /// Takes the next chunk. A finding is one that could not be replaced: nothing more may be sent.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Finding> {
        self.taken += chunk.len() as u64;
        let verdict = self.raw.push(chunk);
        let (out, redacted) = self.raw.take();
        self.redacted.extend(redacted);
        match verdict.or_else(|| self.said.push(&out)) {
            Some(finding) => Err(finding),
            None => {
                self.held.extend(out);
                Ok(())
            }
        }
    }

    /// The bytes that may be sent now, behind those of the last call.
    pub fn ready(&mut self) -> Vec<u8> {
        let free = usize::try_from(self.raw.safe_len().saturating_sub(self.released)).unwrap_or(usize::MAX).min(self.held.len());
        self.released += free as u64;
        self.held.drain(..free).collect()
    }

    /// How many bytes were taken and not yet let out.
    pub fn pending(&self) -> u64 {
        self.taken - self.released
    }

    /// What was replaced since the last call.
    pub fn redacted(&mut self) -> Vec<Redacted> {
        std::mem::take(&mut self.redacted)
    }

    /// The end of the body: the rest of the bytes, and what was replaced since the last call.
    pub fn finish(mut self) -> Result<(Vec<u8>, Vec<Redacted>), Finding> {
        let (verdict, out, redacted) = self.raw.finish_redacting();
        self.redacted.extend(redacted);
        match verdict.or_else(|| self.said.push(&out)).or_else(|| self.said.finish()) {
            Some(finding) => Err(finding),
            None => {
                self.held.extend(out);
                Ok((self.held, self.redacted))
            }
        }
    }
}
