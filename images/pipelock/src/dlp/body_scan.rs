//! One body under inspection: its raw bytes, and what its Content-Encoding hides.

use std::collections::VecDeque;

use bottle_contract::Reason;
use bottle_policy::{Leak, Place, head};
use bottle_scan::{Finding, Message, Scanner};
use bottle_wire::Refused;
use bottle_wire::content_coding::{Decoder, Undecodable};
use http::HeaderMap;
use tokio::task::JoinSet;

use super::fragments::MAX_SMALL_BODY;

/// From this many bytes on, what a body says is scanned by another thread than its raw bytes: to wake one takes as long as to
/// scan some of these.
const TWO_THREADS: u64 = 32 << 10;

/// Scans a body chunk by chunk.
#[derive(Debug)]
pub struct Inspector {
    scanner: Scanner,
    raw: Message,
    read: u64,
    decoded: Option<Decoded>,
    /// The beginning of what the body says, as long as that is small.
    small: Vec<u8>,
}

/// Keeps the beginning, and one byte more to tell a body that is not small.
pub(super) fn keep(small: &mut Vec<u8>, bytes: &[u8]) {
    let room = (MAX_SMALL_BODY + 1).saturating_sub(small.len()).min(bytes.len());
    small.extend_from_slice(&bytes[..room]);
}

#[derive(Debug)]
struct Decoded {
    decoder: Decoder,
    stream: Message,
    written: u64,
    /// Raw bytes so far and decoded bytes made of them, at the ends of chunks that are not yet cleared.
    marks: VecDeque<(u64, u64)>,
    /// Raw bytes of which every decoded byte was cleared.
    cleared: u64,
}

/// What ends a body.
#[derive(Debug)]
pub enum Violation {
    /// A finding in its raw bytes, or in what they say.
    Raw(Finding),
    /// A finding in what its Content-Encoding hides.
    Decoded(Finding),
    /// What the Content-Encoding hides cannot be read.
    Undecodable(Undecodable),
    /// The scan did not come to its end.
    Unfinished,
}

impl From<Undecodable> for Violation {
    fn from(undecodable: Undecodable) -> Self {
        Self::Undecodable(undecodable)
    }
}

impl From<Violation> for Refused {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::Raw(found) => Leak::in_body("body", found).into(),
            Violation::Decoded(found) => Leak::in_body("body.decoded", found).into(),
            Violation::Undecodable(Undecodable(why)) => Refused::new(Reason::BodyNotScannable, why).place(Place::Body),
            Violation::Unfinished => Refused::new(Reason::BodyNotScannable, "the scan was called off").place(Place::Body),
        }
    }
}

impl Inspector {
    /// An inspection of a body of this Content-Type, with these values of Content-Encoding.
    pub fn new<'a>(scanner: &Scanner, kind: Option<&str>, encodings: impl Iterator<Item = &'a [u8]>) -> Result<Self, Refused> {
        let decoder = Decoder::new(encodings).map_err(|e| Refused::from(Violation::from(e)))?;
        // What is encoded says nothing before it is decoded.
        let raw = scanner.message(kind.filter(|_| decoder.is_none()));
        let decoded = |decoder| Decoded { decoder, stream: scanner.message(kind), written: 0, marks: VecDeque::new(), cleared: 0 };
        Ok(Self { scanner: scanner.clone(), raw, read: 0, decoded: decoder.map(decoded), small: Vec::new() })
    }

    /// The fields behind the body.
    pub fn trailers(&self, trailers: &HeaderMap) -> Result<(), Refused> {
        Ok(head::scan_trailers(&self.scanner, trailers)?)
    }

    /// The memory that the decoders' windows may take, in units of 8 MiB.
    pub fn windows(&self) -> u32 {
        self.decoded.as_ref().map_or(0, |decoded| decoded.decoder.windows())
    }

    /// How many bytes from the beginning may be sent: no secret that is still to be found begins before.
    pub fn cleared(&self) -> u64 {
        let raw = self.raw.safe_len();
        self.decoded.as_ref().map_or(raw, |decoded| raw.min(decoded.cleared))
    }

    /// True for a body whose bytes are what it says.
    pub fn is_plain(&self) -> bool {
        self.decoded.is_none()
    }

    /// The scanner.
    pub fn scanner(&self) -> &Scanner {
        &self.scanner
    }

    /// Takes the next chunk.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Violation> {
        self.raw.push(chunk).map_or(Ok(()), |found| Err(Violation::Raw(found)))?;
        self.read += chunk.len() as u64;
        let small = &mut self.small;
        let Some(Decoded { decoder, stream, written, marks, cleared }) = &mut self.decoded else {
            keep(small, chunk);
            return Ok(());
        };
        decoder.push(chunk, &mut |output| {
            keep(small, output);
            *written += output.len() as u64;
            stream.push(output).map_or(Ok(()), |found| Err(Violation::Decoded(found)))
        })?;
        marks.push_back((self.read, *written));
        while let Some((read, _)) = marks.pop_front_if(|(_, written)| *written <= stream.safe_len()) {
            *cleared = read;
        }
        Ok(())
    }

    /// The same as [`Inspector::finish`], sooner if the body is large. Given up before the other thread began, that has nothing to do.
    pub async fn finish_soon(self) -> Result<Vec<u8>, Violation> {
        if self.decoded.is_some() || self.read < TWO_THREADS {
            return self.finish();
        }
        let (raw, said) = self.raw.ends();
        let mut beside = JoinSet::new();
        beside.spawn_blocking(move || said.finish());
        raw.finish().map_or(Ok(()), |found| Err(Violation::Raw(found)))?;
        match beside.join_next().await {
            Some(Ok(None)) => Ok(Vec::new()),
            Some(Ok(Some(found))) => Err(Violation::Raw(found)),
            None | Some(Err(_)) => Err(Violation::Unfinished),
        }
    }

    /// The body's end: what was held back is scanned, and an encoded body must be whole. Returns a small body, decoded;
    /// nothing of one that is not small.
    pub fn finish(self) -> Result<Vec<u8>, Violation> {
        let Self { raw, decoded, small, .. } = self;
        raw.finish().map_or(Ok(()), |found| Err(Violation::Raw(found)))?;
        if let Some(Decoded { decoder, stream, .. }) = decoded {
            decoder.finish()?;
            stream.finish().map_or(Ok(()), |found| Err(Violation::Decoded(found)))?;
        }
        Ok(if small.len() <= MAX_SMALL_BODY { small } else { Vec::new() })
    }
}
