//! A decoder of data that goes on behind a window.

use crate::decode::base64;
use crate::decode::inflate::{Fed, Inflater};
use crate::window::Encoding;

#[derive(Debug)]
enum Decoder {
    Inflate(Box<Inflater>),
    Base64(base64::Decoder),
}

/// Decodes data as it arrives, and remembers how much came out of how much.
#[derive(Debug)]
pub(super) struct OpenDecoder {
    /// Where the data began in its stream.
    pub(super) at: u64,
    decoder: Decoder,
    is_ended: bool,
    /// How far the stream was read, and how much had been decoded then; the oldest first.
    marks: Vec<(u64, u64)>,
    decoded: u64,
}

impl OpenDecoder {
    /// Data that begins at `at`.
    pub(super) fn new(encoding: Encoding, at: u64) -> Self {
        let decoder = match encoding {
            Encoding::Base64 => Decoder::Base64(base64::Decoder::default()),
            Encoding::Compressed(coding) => Decoder::Inflate(Box::new(Inflater::new(coding))),
        };
        Self { at, decoder, is_ended: false, marks: vec![(at, 0)], decoded: 0 }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// True for a base64 run that had not ended.
    pub(super) fn is_base64(&self) -> bool {
        !self.is_ended && matches!(self.decoder, Decoder::Base64(_))
    }

    /// Decodes the next chunk, which ends at `end` in its stream, and appends at most `room` bytes to `out`.
    pub(super) fn feed(&mut self, chunk: &[u8], end: u64, out: &mut Vec<u8>, room: u64) -> Fed {
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let fed = match &mut self.decoder {
            Decoder::Inflate(inflater) => inflater.feed(chunk, out, room),
            Decoder::Base64(decoder) => match decoder.feed(chunk, out) {
                true => Fed::More,
                false => Fed::Ended,
            },
        };
        self.is_ended = fed == Fed::Ended;
        self.decoded += out.len() as u64;
        self.marks.push((end, self.decoded));
        fed
    }

    /// The end of the stream: what an unfinished group decodes to.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if let Decoder::Base64(decoder) = &mut self.decoder {
            decoder.finish(out);
        }
        self.is_ended = true;
    }

    /// How much of the stream can be let go, when this much of what was decoded can be.
    pub(super) fn safe_len(&self, decoded: u64) -> u64 {
        if self.is_ended {
            return u64::MAX;
        }
        self.marks.iter().take_while(|(_, mark)| *mark <= decoded).last().map_or(self.at, |(read, _)| *read)
    }

    /// Forgets the marks that [`Self::safe_len`] needs no more.
    pub(super) fn forget(&mut self, decoded: u64) {
        let useless = self.marks.iter().take_while(|(_, mark)| *mark <= decoded).count().saturating_sub(1);
        self.marks.drain(..useless);
    }
}
