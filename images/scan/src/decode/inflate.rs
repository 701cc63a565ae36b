//! Decompression in chunks, under a limit on what comes out.

use std::io::{self, Write};

use flate2::write::{DeflateDecoder, GzDecoder, ZlibDecoder};
use ruzstd::decoding::FrameDecoder;

/// A compressed format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950.
    Zlib,
    /// RFC 1951, without a header.
    Deflate,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// Its name in [`crate::Finding::encodings`].
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zlib => "zlib",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }
}

/// Where decompressed bytes go, as long as there is room.
#[derive(Default)]
struct Sink {
    out: Vec<u8>,
    room: usize,
    full: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(self.room);
        self.out.extend_from_slice(&bytes[..fits]);
        self.room -= fits;
        if fits < bytes.len() {
            self.full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What became of the compressed data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fed {
    /// More may follow.
    More,
    /// It ended, or it is not what it seemed to be.
    Ended,
    /// More came out than there was room for.
    Full,
}

/// A decompressor that is fed.
pub(crate) struct Inflater(Kind);

enum Kind {
    Gzip(GzDecoder<Sink>),
    Zlib(ZlibDecoder<Sink>),
    Deflate(DeflateDecoder<Sink>),
    Zstd(Box<Zstd>),
}

impl Inflater {
    pub(crate) fn new(coding: Coding) -> Self {
        Self(match coding {
            Coding::Gzip => Kind::Gzip(GzDecoder::new(Sink::default())),
            Coding::Zlib => Kind::Zlib(ZlibDecoder::new(Sink::default())),
            Coding::Deflate => Kind::Deflate(DeflateDecoder::new(Sink::default())),
            Coding::Zstd => Kind::Zstd(Box::default()),
        })
    }

    /// Feeds the next chunk, and appends at most `room` bytes to `out`.
    pub(crate) fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>, room: usize) -> Fed {
        match &mut self.0 {
            Kind::Gzip(decoder) => push(decoder, GzDecoder::get_mut, chunk, out, room),
            Kind::Zlib(decoder) => push(decoder, ZlibDecoder::get_mut, chunk, out, room),
            Kind::Deflate(decoder) => push(decoder, DeflateDecoder::get_mut, chunk, out, room),
            Kind::Zstd(decoder) => decoder.feed(chunk, out, room),
        }
    }
}

/// Feeds a decoder that writes to a [`Sink`].
fn push<D: Write>(decoder: &mut D, sink: impl Fn(&mut D) -> &mut Sink, mut chunk: &[u8], out: &mut Vec<u8>, room: usize) -> Fed {
    sink(decoder).room = room;
    let mut fed = Fed::More;
    while !chunk.is_empty() {
        match decoder.write(chunk) {
            Ok(taken) if taken > 0 => chunk = &chunk[taken..],
            // An error ends the data where a receiver's decoder would end it: what came before counts.
            _ => {
                fed = Fed::Ended;
                break;
            }
        }
    }
    let _ = decoder.flush();
    let sink = sink(decoder);
    out.append(&mut sink.out);
    if sink.full { Fed::Full } else { fed }
}

/// Zstandard, block by block.
#[derive(Default)]
struct Zstd {
    decoder: FrameDecoder,
    /// An unfinished block.
    held: Vec<u8>,
}

impl Zstd {
    fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>, mut room: usize) -> Fed {
        // A frame's header takes up to 18 bytes (RFC 8878, section 3.1.1.1); it is read in one chunk.
        const HEADER: usize = 18;
        self.held.extend_from_slice(chunk);
        if self.held.len() < HEADER {
            return Fed::More;
        }
        let mut target = [0; 16 << 10];
        let mut taken = 0;
        let fed = loop {
            let Ok((read, written)) = self.decoder.decode_from_to(&self.held[taken..], &mut target) else { break Fed::Ended };
            taken += read;
            if written > room {
                break Fed::Full;
            }
            out.extend_from_slice(&target[..written]);
            room -= written;
            if self.decoder.is_finished() && self.decoder.can_collect() == 0 {
                break Fed::Ended;
            }
            if read == 0 && written == 0 {
                break Fed::More;
            }
        };
        self.held.drain(..taken);
        fed
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Kind::Gzip(_) => "Inflater(gzip)",
            Kind::Zlib(_) => "Inflater(zlib)",
            Kind::Deflate(_) => "Inflater(deflate)",
            Kind::Zstd(_) => "Inflater(zstd)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Vec<u8> {
        (0..40_000u32).flat_map(|i| format!("line {} of the text\n", i.wrapping_mul(2_654_435_761)).into_bytes()).collect()
    }

    fn compressed(coding: Coding) -> Vec<u8> {
        use flate2::{Compression, read};
        use std::io::Read;
        let (text, mut out) = (text(), Vec::new());
        match coding {
            Coding::Gzip => read::GzEncoder::new(&text[..], Compression::fast()).read_to_end(&mut out).map(|_| out),
            Coding::Zlib => read::ZlibEncoder::new(&text[..], Compression::fast()).read_to_end(&mut out).map(|_| out),
            Coding::Deflate => read::DeflateEncoder::new(&text[..], Compression::fast()).read_to_end(&mut out).map(|_| out),
            Coding::Zstd => Ok(ruzstd::encoding::compress_to_vec(&text[..], ruzstd::encoding::CompressionLevel::Fastest)),
        }
        .unwrap()
    }

    #[test]
    fn chunks_of_any_size_give_the_same_text() {
        let text = text();
        for coding in [Coding::Gzip, Coding::Zlib, Coding::Deflate, Coding::Zstd] {
            let data = compressed(coding);
            for size in [7, 1000, 70_000, data.len()] {
                let (mut inflater, mut out) = (Inflater::new(coding), Vec::new());
                data.chunks(size).for_each(|chunk| assert_ne!(inflater.feed(chunk, &mut out, 1 << 30), Fed::Full));
                assert!(out == text, "{coding:?} in chunks of {size}: {} of {} bytes", out.len(), text.len());
            }
        }
    }

    #[test]
    fn no_more_comes_out_than_there_is_room_for() {
        for coding in [Coding::Gzip, Coding::Zlib, Coding::Deflate, Coding::Zstd] {
            let mut out = Vec::new();
            assert_eq!(Inflater::new(coding).feed(&compressed(coding), &mut out, 50_000), Fed::Full, "{coding:?}");
            assert!(out.len() <= 50_000);
        }
    }

    #[test]
    fn what_follows_the_data_ends_it() {
        for coding in [Coding::Gzip, Coding::Zlib, Coding::Deflate, Coding::Zstd] {
            let (mut inflater, mut out) = (Inflater::new(coding), Vec::new());
            let data = [compressed(coding), b"something else".repeat(10)].concat();
            assert_eq!(inflater.feed(&data, &mut out, 1 << 30), Fed::Ended, "{coding:?}");
            assert!(out == text());
        }
    }
}
