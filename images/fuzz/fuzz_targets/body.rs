//! Bodies with a Content-Encoding: what comes out does not depend on how they are cut, and is bounded.
#![no_main]

use bottle_pipelock::dlp::decode::{Decoder, Undecodable};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 6] = ["gzip", "deflate", "br", "zstd", "gzip, gzip", "deflate, zstd"];

fn decode(name: &str, pieces: &[&[u8]]) -> (usize, bool) {
    let Ok(Some(mut decoder)) = Decoder::new(std::iter::once(name.as_bytes())) else { unreachable!() };
    let mut out = 0;
    for piece in pieces {
        let result = decoder.push(piece, &mut |bytes| {
            out += bytes.len();
            Ok::<_, Undecodable>(())
        });
        if result.is_err() {
            return (out, false);
        }
    }
    (out, decoder.finish().is_ok())
}

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (which, cut, bytes) = input;
    let name = NAMES[usize::from(which) % NAMES.len()];
    let whole = decode(name, &[bytes]);
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let cut = decode(name, &[first, second]);
    assert!(whole.0 <= (1 << 20) + 200 * bytes.len());
    // Where nothing is wrong, the pieces make no difference; a bomb may be put out a piece sooner.
    if whole.1 && cut.1 {
        assert_eq!(whole, cut);
    }
});
