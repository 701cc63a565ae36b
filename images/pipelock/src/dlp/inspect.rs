//! One body under inspection: its raw bytes, and what its Content-Encoding hides.

use bottle_contract::Reason;
use bottle_scan::{Finding, Scanner, Stream};
use bottle_wire::Refused;

use super::Leak;
use super::decode::{Decoder, Undecodable};

/// Scans a body piece by piece.
#[derive(Debug)]
pub struct Inspector {
    raw: Stream,
    decoded: Option<(Decoder, Stream)>,
}

/// What ends a body.
enum Violation {
    Leak(Leak),
    Undecodable(Undecodable),
}

impl From<Undecodable> for Violation {
    fn from(undecodable: Undecodable) -> Self {
        Self::Undecodable(undecodable)
    }
}

impl From<Violation> for Refused {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::Leak(leak) => leak.into(),
            Violation::Undecodable(Undecodable(why)) => Refused::new(Reason::BodyNotScannable, why).place("body"),
        }
    }
}

fn leak(form: &str) -> impl Fn(Finding) -> Violation {
    move |found| Violation::Leak(Leak { rule: found.rule, place: format!("{form}@{}", found.offset) })
}

impl Inspector {
    /// An inspection of a body with these values of Content-Encoding.
    pub fn new<'a>(scanner: &Scanner, encodings: impl Iterator<Item = &'a [u8]>) -> Result<Self, Refused> {
        let decoder = Decoder::new(encodings).map_err(|e| Refused::from(Violation::from(e)))?;
        Ok(Self { raw: scanner.stream(), decoded: decoder.map(|decoder| (decoder, scanner.stream())) })
    }

    /// The memory that the decoders' windows may take, in units of 8 MiB.
    pub fn windows(&self) -> u32 {
        self.decoded.as_ref().map_or(0, |(decoder, _)| decoder.windows())
    }

    /// Scans the next piece; on success nothing up to its end is known to be a secret.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Refused> {
        Ok(self.scan(piece)?)
    }

    fn scan(&mut self, piece: &[u8]) -> Result<(), Violation> {
        self.raw.push(piece).map_or(Ok(()), |found| Err(leak("body")(found)))?;
        match &mut self.decoded {
            None => Ok(()),
            Some((decoder, stream)) => {
                decoder.push(piece, &mut |output| stream.push(output).map_or(Ok(()), |found| Err(leak("body.decoded")(found))))
            }
        }
    }

    /// The body's end: what was held back is scanned, and an encoded body must be whole.
    pub fn finish(self) -> Result<(), Refused> {
        let Self { raw, decoded } = self;
        let end = || -> Result<(), Violation> {
            raw.finish().map_or(Ok(()), |found| Err(leak("body")(found)))?;
            if let Some((decoder, stream)) = decoded {
                decoder.finish()?;
                stream.finish().map_or(Ok(()), |found| Err(leak("body.decoded")(found)))?;
            }
            Ok(())
        };
        Ok(end()?)
    }
}
