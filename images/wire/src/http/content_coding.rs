//! Content-Encoding undone for whoever reads a body along: buffer by buffer, in bounded memory, and strictly. What cannot be read to
//! its very end is an error.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use crate::http::aws_chunked::AwsChunked;

/// The most layers that anyone can mean; `gzip, gzip` happens, by mistake.
const MAX_LAYERS: usize = 2;
/// What a decoder writes before its output is looked at.
const STEP_BYTES: usize = 32 * 1024;
/// 8 MiB, the largest window that a receiver over HTTP must support (RFC 9659, section 3).
const ZSTD_WINDOW_LOG: u32 = 23;
/// 4 MiB, what brotli's own tools and libraries use unless told otherwise. The decoder touches all of it at once.
const BROTLI_WINDOW_LOG: u8 = 22;
/// Values that stand in Content-Encoding by an old mistake and mean the body as it is: AWS's SDKs of another age, and a character set.
const NO_CODINGS: [&str; 5] = ["", "identity", "amz-1.0", "utf-8", "utf8"];
/// What a body may grow by beyond [`MAX_RATIO`] times its size: small bodies compress best.
const FREE_BYTES: u64 = 1 << 20;
/// Prose and JSON compress to a tenth, logs to a fiftieth; a bomb to a thousandth.
const MAX_RATIO: u64 = 200;

/// The body is not what its Content-Encoding says, is a bomb, or has an encoding that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable(pub &'static str);

enum Codec {
    Gzip(Decompress),
    /// `deflate`. Some leave out zlib's frame; the first byte tells.
    Zlib {
        state: Decompress,
        started: bool,
    },
    AwsChunked(AwsChunked),
    Brotli {
        state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>,
        started: bool,
    },
    Zstd(DCtx<'static>),
}

/// One layer. `done` is true when all that came was whole: at the end of a member or frame.
struct Layer {
    codec: Codec,
    done: bool,
    output: Box<[u8]>,
}

/// What one call of a decoder did.
struct Step {
    read: usize,
    written: usize,
    ended: bool,
}

impl Layer {
    fn new(name: &str) -> Option<Self> {
        let alloc = StandardAlloc::default;
        let codec = match name {
            "gzip" | "x-gzip" => Codec::Gzip(Decompress::new_gzip(15)),
            "deflate" => Codec::Zlib { state: Decompress::new(true), started: false },
            "aws-chunked" => Codec::AwsChunked(AwsChunked::default()),
            "br" => Codec::Brotli { state: Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())), started: false },
            "zstd" => {
                let mut context = DCtx::create();
                context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).ok()?;
                Codec::Zstd(context)
            }
            _ => return None,
        };
        Some(Self { codec, done: false, output: vec![0; STEP_BYTES].into_boxed_slice() })
    }

    fn step(&mut self, input: &[u8]) -> Result<Step, Undecodable> {
        match &mut self.codec {
            Codec::Gzip(state) => inflate(state, input, &mut self.output, "the body is not valid gzip"),
            Codec::Zlib { state, started } => {
                if !*started && input.first().is_some_and(|first| first & 0x0f != 8) {
                    *state = Decompress::new(false);
                }
                *started |= !input.is_empty();
                inflate(state, input, &mut self.output, "the body is not valid deflate")
            }
            Codec::AwsChunked(chunks) => {
                let (read, written) = chunks.step(input, &mut self.output).map_err(Undecodable)?;
                Ok(Step { read, written, ended: chunks.may_end() })
            }
            Codec::Brotli { state, started } => {
                if !*started && input.first().is_some_and(|first| brotli_window_log(*first) > BROTLI_WINDOW_LOG) {
                    return Err(Undecodable("the body needs a brotli window larger than 4 MiB"));
                }
                *started |= !input.is_empty();
                let (mut left, mut read, mut room, mut written, mut total) = (input.len(), 0, self.output.len(), 0, 0);
                let out = &mut self.output;
                match BrotliDecompressStream(&mut left, &mut read, input, &mut room, &mut written, out, &mut total, state) {
                    BrotliResult::ResultFailure => Err(Undecodable("the body is not valid brotli")),
                    result => Ok(Step { read, written, ended: matches!(result, BrotliResult::ResultSuccess) }),
                }
            }
            Codec::Zstd(context) => {
                let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(&mut self.output[..]));
                match context.decompress_stream(&mut to, &mut from) {
                    Err(_) => Err(Undecodable("the body is not valid zstd, or needs a window larger than 8 MiB")),
                    Ok(hint) => Ok(Step { read: from.pos, written: to.pos(), ended: hint == 0 }),
                }
            }
        }
    }

    /// Ready for the next member or frame, where the format has such.
    fn restart(&mut self) -> Result<(), Undecodable> {
        match &mut self.codec {
            Codec::Gzip(state) => *state = Decompress::new_gzip(15),
            // The decoder itself starts the next frame; trailers may follow the last chunk.
            Codec::Zstd(_) | Codec::AwsChunked(_) => {}
            Codec::Zlib { .. } | Codec::Brotli { .. } => return Err(Undecodable("bytes follow the end of the encoded body")),
        }
        Ok(())
    }
}

/// The window size that a stream's first byte announces (RFC 7932, section 9.1).
fn brotli_window_log(first: u8) -> u8 {
    match (first & 1, first >> 1 & 7, first >> 4 & 7) {
        (0, ..) => 16,
        (_, 0, 0) => 17,
        (_, 0, short) => 8 + short,
        (_, long, _) => 17 + long,
    }
}

fn inflate(state: &mut Decompress, input: &[u8], output: &mut [u8], wrong: &'static str) -> Result<Step, Undecodable> {
    let (before_in, before_out) = (state.total_in(), state.total_out());
    // `BufError` only says that nothing moved, which the caller sees from the counts.
    let status = state.decompress(input, output, FlushDecompress::None).map_err(|_| Undecodable(wrong))?;
    let moved = |before: u64, now: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
    Ok(Step { read: moved(before_in, state.total_in()), written: moved(before_out, state.total_out()), ended: status == Status::StreamEnd })
}

/// All layers of one body.
pub struct Decoder {
    /// The outermost, which was applied last, first.
    layers: Vec<Layer>,
    read: u64,
    written: u64,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("layers", &self.layers.len()).field("read", &self.read).finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder for the values of Content-Encoding, in the order they were sent (RFC 9110, section 8.4); none when the
    /// body is plain.
    pub fn new<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Option<Self>, Undecodable> {
        let mut layers = Vec::new();
        for value in values {
            let text = std::str::from_utf8(value).map_err(|_| Undecodable("the Content-Encoding is not text"))?;
            for name in text.split(',').map(|name| name.trim_matches([' ', '\t']).to_ascii_lowercase()) {
                if NO_CODINGS.contains(&name.as_str()) {
                    continue;
                }
                layers.insert(0, Layer::new(&name).ok_or(Undecodable("the Content-Encoding is not one that can be read"))?);
            }
        }
        if layers.len() > MAX_LAYERS {
            return Err(Undecodable("the body is encoded too many times"));
        }
        Ok((!layers.is_empty()).then_some(Self { layers, read: 0, written: 0 }))
    }

    /// The memory that the decoders' windows may take, in units of 8 MiB; inflate's 32 KiB counts for nothing.
    pub fn windows(&self) -> u32 {
        let window = |layer: &Layer| match layer.codec {
            Codec::Gzip(_) | Codec::Zlib { .. } | Codec::AwsChunked(_) => 0,
            Codec::Zstd(_) | Codec::Brotli { .. } => 1,
        };
        self.layers.iter().map(window).sum()
    }

    /// Decodes the next chunk, handing each bit of output to `sink` as soon as it is there.
    pub fn push<E: From<Undecodable>>(&mut self, chunk: &[u8], sink: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.read += chunk.len() as u64;
        let cap = FREE_BYTES + MAX_RATIO * self.read;
        let written = &mut self.written;
        feed(&mut self.layers, chunk, &mut |output| {
            *written += output.len() as u64;
            if *written > cap {
                return Err(Undecodable("the body grows too much when it is decoded").into());
            }
            sink(output)
        })
    }

    /// The end of the body: each layer must have come to its own end.
    pub fn finish(self) -> Result<(), Undecodable> {
        // A body without a byte has nothing to decode, whatever its header says.
        if self.read == 0 || self.layers.iter().all(|layer| layer.done) {
            Ok(())
        } else {
            Err(Undecodable("the encoded body ends too early"))
        }
    }
}

fn feed<E: From<Undecodable>>(layers: &mut [Layer], mut input: &[u8], sink: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let Some((layer, inner)) = layers.split_first_mut() else { return sink(input) };
    loop {
        if input.is_empty() && layer.done {
            return Ok(());
        }
        if layer.done {
            layer.restart()?;
            layer.done = false;
        }
        let step = layer.step(input)?;
        input = input.get(step.read..).unwrap_or_default();
        layer.done = step.ended;
        if step.written > 0 {
            feed(inner, &layer.output[..step.written], sink)?;
        }
        // A full buffer may have left output behind; anything less means that the decoder wants more input.
        if !step.ended && input.is_empty() && step.written < layer.output.len() {
            return Ok(());
        }
        if step.read == 0 && step.written == 0 && !step.ended {
            return Err(Undecodable("the encoded body cannot be read").into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn br(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = brotli::CompressorWriter::new(&mut out, 4096, 5, 22);
        encoder.write_all(bytes).unwrap();
        drop(encoder);
        out
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
        zstd_safe::compress(&mut out, bytes, 3).unwrap();
        out
    }

    /// Decodes in chunks of `size` and says what came out, or why nothing did.
    fn decode(encoding: &str, body: &[u8], size: usize) -> Result<Vec<u8>, Undecodable> {
        let mut decoder = Decoder::new(std::iter::once(encoding.as_bytes()))?.expect("an encoding");
        let mut out = Vec::new();
        for chunk in body.chunks(size) {
            decoder.push(chunk, &mut |bytes| {
                out.extend_from_slice(bytes);
                Ok::<_, Undecodable>(())
            })?;
        }
        decoder.finish()?;
        Ok(out)
    }

    type Encode = fn(&[u8]) -> Vec<u8>;
    const CODECS: [(&str, Encode); 4] = [("gzip", gzip), ("deflate", zlib), ("br", br), ("zstd", zstd)];

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8 & 0x3f
        };
        (0..length).map(next).collect()
    }

    #[test]
    fn what_was_encoded_comes_back_however_it_is_cut() {
        let body = noise(300_000);
        for (name, encode) in CODECS {
            for size in [1, 7, 4096, usize::MAX] {
                assert_eq!(decode(name, &encode(&body), size).as_ref(), Ok(&body), "{name} in chunks of {size}");
            }
        }
        assert_eq!(decode("deflate, gzip", &gzip(&zlib(&body)), 100), Ok(body.clone()));
        let members = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(decode("gzip", &members, 3), Ok(b"one two".to_vec()));
        let frames = [zstd(b"one "), zstd(b"two")].concat();
        assert_eq!(decode("ZSTD", &frames, 3), Ok(b"one two".to_vec()));
    }

    // covers: H18
    #[test]
    fn what_is_not_whole_and_true_to_its_name_is_not_decodable() {
        let body = noise(50_000);
        for (name, encode) in CODECS {
            let whole = encode(&body);
            assert!(decode(name, &whole[..whole.len() - 1], 4096).is_err(), "{name} cut short");
            assert!(decode(name, &[&whole[..], b"garbage"].concat(), 4096).is_err(), "{name} with garbage behind");
            assert!(decode(name, b"plain text, not encoded at all", 4096).is_err(), "{name} that is plain");
        }
        let mut bad_crc = gzip(&body);
        let at = bad_crc.len() - 6;
        bad_crc[at] ^= 1;
        assert!(decode("gzip", &bad_crc, 4096).is_err(), "a wrong checksum");
        for unknown in ["compress", "snappy", "gzip;q=1", "identity, x", "gzip, gzip, gzip"] {
            assert!(Decoder::new(std::iter::once(unknown.as_bytes())).is_err(), "{unknown}");
        }
        for plain in ["", "identity", "amz-1.0", "UTF-8", "identity, amz-1.0"] {
            assert!(Decoder::new(std::iter::once(plain.as_bytes())).unwrap().is_none(), "{plain}");
        }
    }

    #[test]
    fn a_window_that_costs_much_memory_is_refused() {
        for window in 10..=24 {
            let mut body = Vec::new();
            brotli::CompressorWriter::new(&mut body, 4096, 5, window).write_all(&noise(100_000)).unwrap();
            assert_eq!(u32::from(brotli_window_log(body[0])), window);
            assert_eq!(decode("br", &body, 4096).is_ok(), window <= 22, "{window}");
        }
    }

    // covers: A17
    #[test]
    fn deflate_is_read_without_the_frame_of_zlib_too() {
        let body = noise(50_000);
        let framed = zlib(&body);
        for size in [1, 4096] {
            assert_eq!(decode("deflate", &framed[2..framed.len() - 4], size).as_ref(), Ok(&body), "in chunks of {size}");
        }
    }

    // covers: V38 A17
    #[test]
    fn chunks_of_aws_are_undone_around_another_coding_too() {
        let chunk = |bytes: &[u8]| [format!("{:x};chunk-signature=0a\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        let last = b"0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
        let body = noise(70_000);
        let whole = [chunk(&body[..40_000]), chunk(&body[40_000..]), last.to_vec()].concat();
        let packed = [chunk(&gzip(&body)), last.to_vec()].concat();
        for size in [1, 7, usize::MAX] {
            assert_eq!(decode("aws-chunked", &whole, size).as_ref(), Ok(&body));
            assert_eq!(decode("gzip, aws-chunked", &packed, size).as_ref(), Ok(&body));
            assert_eq!(decode("aws-chunked", b"0\r\n\r\n", size), Ok(Vec::new()));
        }
        for broken in [&b"5\r\nhell"[..], b"5\r\nhello0\r\n\r\n", b"x\r\n", b"\r\n", b"0\r\n\r\nmore", b"5\nhello", &whole[..50_000]] {
            for size in [1, usize::MAX] {
                assert!(decode("aws-chunked", broken, size).is_err(), "{}", broken.escape_ascii());
            }
        }
    }

    // covers: H18
    #[test]
    fn a_bomb_is_put_out_after_a_megabyte() {
        let zeros = vec![0; 64 << 20];
        for (name, encode) in CODECS {
            let bomb = encode(&zeros);
            let mut decoder = Decoder::new(std::iter::once(name.as_bytes())).unwrap().unwrap();
            let mut out = 0;
            let verdict = decoder.push(&bomb, &mut |bytes| {
                out += bytes.len();
                Ok::<_, Undecodable>(())
            });
            assert_eq!(verdict, Err(Undecodable("the body grows too much when it is decoded")), "{name}");
            assert!(out <= (1 << 20) + 200 * bomb.len(), "{name}: {out}");
        }
        let nested = gzip(&gzip(&zeros));
        assert!(decode("gzip, gzip", &nested, 4096).is_err());
    }
}
