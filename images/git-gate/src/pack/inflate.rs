//! Inflates the zlib streams of a pack, and checks their sizes.

use zlib_rs::{Inflate, InflateFlush, Status};

use super::Unsound;
use super::source::{Reader, Source};

/// Bytes inflated at once.
const CHUNK_SIZE: usize = 64 << 10;

/// Inflates one stream after another.
pub struct Inflater {
    inflate: Inflate,
    out: Box<[u8]>,
}

impl Default for Inflater {
    fn default() -> Self {
        // 15: the largest window (RFC 1950, section 2.2).
        Self { inflate: Inflate::new(true, 15), out: vec![0; CHUNK_SIZE].into() }
    }
}

impl Inflater {
    /// Inflates the stream at the reader's position chunk by chunk. It must have exactly `size` bytes; a longer one fails at
    /// the first excess byte.
    pub fn run<S: Source + ?Sized>(
        &mut self,
        reader: &mut Reader<'_, S>,
        size: u64,
        mut sink: impl FnMut(&[u8]) -> Result<(), Unsound>,
    ) -> Result<(), Unsound> {
        let at = reader.offset();
        let corrupt = |why| Unsound::Entry(at, why);
        self.inflate.reset(true);
        let mut total = 0;
        loop {
            let input = reader.fill()?;
            let nothing_left = input.is_empty();
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(input, &mut self.out, InflateFlush::NoFlush).map_err(|_| corrupt("not a zlib stream"))?;
            let used = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(0);
            let new = usize::try_from(self.inflate.total_out() - before_out).unwrap_or(0);
            reader.consume(used);
            total += new as u64;
            if total > size {
                return Err(corrupt("it is longer than it claims"));
            }
            if new > 0 {
                sink(&self.out[..new])?;
            }
            match status {
                Status::StreamEnd if total == size => return Ok(()),
                Status::StreamEnd => return Err(corrupt("it is shorter than it claims")),
                _ if used == 0 && new == 0 && nothing_left => return Err(Unsound::CutOff),
                _ if used == 0 && new == 0 => return Err(corrupt("not a zlib stream")),
                _ => {}
            }
        }
    }
}
