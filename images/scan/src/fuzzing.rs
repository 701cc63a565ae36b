//! What the fuzz targets reach into: each decoder by itself. Not part of any build but theirs.

use crate::decode::escape::Escape;
use crate::decode::inflate::{Coding, Fed, Inflater};
use crate::decode::{base32, base64, fold, hex, magic, utf16};

/// What a decoder may write in one run of a target.
const ROOM: usize = 1 << 20;

/// Runs one decoder over `bytes`, cut at `cut` where it reads a stream. None writes more than it may.
pub fn decode(which: u8, cut: usize, bytes: &[u8]) {
    let mut out = Vec::new();
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    match which % 13 {
        number @ 0..4 => {
            let escape = Escape::ALL[usize::from(number)];
            let mut from = 0;
            while let Some(at) = escape.next(bytes, from) {
                assert!(at >= from && escape.marks(bytes, at));
                from = at + 1;
            }
            escape.decode(bytes, &mut out);
            assert!(out.len() <= 4 * bytes.len());
            Escape::narrow(&mut out);
        }
        4 => {
            fold::decode(bytes, &mut out);
            assert!(out.len() <= 64 * bytes.len());
        }
        5 => {
            base64::run(bytes, &mut out);
            let (mut whole, mut split) = (Vec::new(), Vec::new());
            let mut continued = base64::Decoder::default();
            if continued.feed(bytes, &mut whole) {
                continued.finish(&mut whole);
            }
            let mut continued = base64::Decoder::default();
            if continued.feed(first, &mut split) && continued.feed(second, &mut split) {
                continued.finish(&mut split);
            }
            assert_eq!(whole, split);
        }
        6 => base32::run(bytes, &mut out),
        7 => {
            hex::run(bytes, &mut out);
            let mut from = 0;
            while let Some(start) = hex::pair(bytes, from, bytes.len()) {
                let end = hex::separated(bytes, start, &mut out);
                from = end.max(start + 1);
            }
        }
        8 => {
            let mut from = 0;
            while let Some(zero) = utf16::zero(bytes, from) {
                from = zero + 1;
                for wide in utf16::around(bytes, zero) {
                    assert!(wide.end() <= bytes.len());
                    wide.decode(bytes, &mut out);
                }
                if out.len() > ROOM {
                    return;
                }
            }
        }
        number => {
            let codings = [Coding::Gzip, Coding::Zlib, Coding::Deflate, Coding::Zstd];
            let mut inflater = Inflater::new(codings[usize::from(number - 9) % codings.len()]);
            if inflater.feed(first, &mut out, ROOM) == Fed::More {
                inflater.feed(second, &mut out, ROOM.saturating_sub(out.len()));
            }
            assert!(out.len() <= ROOM);
            for start in magic::starts(bytes, true) {
                assert!(start.at <= start.data && start.data <= bytes.len());
            }
        }
    }
}
