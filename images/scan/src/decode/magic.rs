//! Where compressed data begins: the magic numbers of the formats.

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd, dispatch, u8x64};

use super::inflate::Coding;

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// Where compressed data begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) at: usize,
    /// Where the data itself begins, behind an archive's header.
    pub(crate) data: usize,
    pub(crate) coding: Coding,
}

/// What gzip, zstd and zip begin with.
pub(crate) const STRONG: [&[u8]; 3] = [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"];

/// What zlib's data begins with, by its level.
pub(crate) const ZLIB: [&[u8]; 4] = [b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"];

/// True when the base64 digits begin with a format's magic number.
pub(crate) fn in_base64(digits: &[u8]) -> bool {
    [&b"H4sI"[..], b"eJ", b"eNo", b"eNq", b"eAE", b"eAG", b"eF4", b"eF7", b"KLUv", b"UEsDB"].iter().any(|magic| digits.starts_with(magic))
}

fn is_zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [0x78, 0x01 | 0x5e | 0x9c | 0xda, third, _, _, _, ..] if third & 6 != 6)
}

/// The next place from `from` on where a format's magic number stands. That of zlib is short: it is looked for at the
/// beginning only, or `everywhere`.
pub(crate) fn next(bytes: &[u8], from: usize, everywhere: bool) -> Option<Start> {
    next_with(Level::new(), bytes, from, everywhere)
}

/// The same with what a processor of this level has.
fn next_with(level: Level, bytes: &[u8], from: usize, everywhere: bool) -> Option<Start> {
    let zlib = |at: usize| is_zlib(&bytes[at..]).then_some(Start { at, data: at, coding: Coding::Zlib });
    if from == 0
        && let Some(start) = zlib(0)
    {
        return Some(start);
    }
    let mut at = from;
    loop {
        at = dispatch!(level, simd => pair(simd, bytes, at, everywhere))?;
        let start = if bytes[at] == b'x' { zlib(at) } else { strong(bytes, at).filter(|start| from <= start.at) };
        if start.is_some() {
            return start;
        }
        at += 1;
    }
}

/// Two bytes of each magic number, such as text has not: where they are looked for, the rest of it stands around.
#[inline(always)]
fn pair<S: Simd>(simd: S, bytes: &[u8], from: usize, zlib: bool) -> Option<usize> {
    let mut at = from;
    while let Some(block) = bytes.get(at..at + BLOCK + 1) {
        let (first, second) = (u8x64::from_slice(simd, &block[..BLOCK]), u8x64::from_slice(simd, &block[1..]));
        let both = |a: u8, b: u8| first.simd_eq(a) & second.simd_eq(b);
        let mut pairs = both(0x1f, 0x8b) | both(0xb5, 0x2f) | both(3, 4);
        if zlib {
            let second = ZLIB.iter().fold(second.simd_eq(ZLIB[0][1]), |any, two| any | second.simd_eq(two[1]));
            pairs |= first.simd_eq(b'x') & second;
        }
        match pairs.to_bitmask() {
            0 => at += BLOCK,
            found => return Some(at + found.trailing_zeros() as usize),
        }
    }
    let is_pair = |two: &[u8]| matches!(two, [0x1f, 0x8b] | [0xb5, 0x2f] | [3, 4]) || zlib && ZLIB.contains(&two);
    bytes.get(at..)?.windows(2).position(is_pair).map(|found| at + found)
}

/// The magic number that chance does not write, two bytes of which stand at `at`.
fn strong(bytes: &[u8], at: usize) -> Option<Start> {
    let begins = |before: usize| at.checked_sub(before).map(|start| (start, &bytes[start..]));
    match bytes[at] {
        0x1f => begins(0).filter(|(_, rest)| rest.len() > 12 && rest[2] == 8 && rest[3] < 0x20).map(|(at, _)| Start {
            at,
            data: at,
            coding: Coding::Gzip,
        }),
        0xb5 => begins(1).filter(|(_, rest)| rest.starts_with(STRONG[1])).map(|(at, _)| Start { at, data: at, coding: Coding::Zstd }),
        _ => {
            // A local file header (PKWARE's application note, section 4.3.7): method at 8, lengths at 26 and 28.
            let (at, header) = begins(2).filter(|(_, header)| header.starts_with(STRONG[2]))?;
            if header.len() <= 30 || header[8..10] != [8, 0] {
                return None;
            }
            let length = |i: usize| usize::from(u16::from_le_bytes([header[i], header[i + 1]]));
            let data = at + 30 + length(26) + length(28);
            (data < bytes.len()).then_some(Start { at, data, coding: Coding::Deflate })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::levels;

    #[test]
    fn each_format_is_told_wherever_it_stands() {
        let zip = [&b"PK\x03\x04\x14\0\0\0\x08\0"[..], &[0; 16], &[1, 0, 0, 0], b"n"].concat();
        let strong = [(&b"\x1f\x8b\x08\0"[..], 0, Coding::Gzip), (b"\x28\xb5\x2f\xfd", 0, Coding::Zstd), (&zip, 31, Coding::Deflate)];
        for (magic, header, coding) in strong.into_iter().chain([(&b"x\x9c\x4b"[..], 0, Coding::Zlib)]) {
            for (before, after) in (0..140).flat_map(|before| [12, 20, 90].map(|after| (before, after))) {
                let text = [vec![b' '; before].as_slice(), magic, &vec![0x42; after]].concat();
                let (at, next) = (before, |from| levels().into_iter().map(move |level| (level, from)));
                for (level, from) in next(0).chain(next(at)).chain(next(at + 1)) {
                    let expected = (from <= at).then_some(Start { at, data: at + header, coding });
                    assert_eq!(next_with(level, &text, from, true), expected, "{level:?}, from {from}: {}", text.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn each_format_is_told_by_its_first_bytes() {
        let zip = [&b"PK\x03\x04\x14\0\0\0\x08\0"[..], &[0; 16], &[1, 0, 0, 0], b"n"].concat();
        for (magic, data, coding) in
            [(&b"\x1f\x8b\x08\0"[..], 5, Coding::Gzip), (b"\x28\xb5\x2f\xfd", 5, Coding::Zstd), (&zip, 5 + 31, Coding::Deflate)]
        {
            let text = [b"text ", magic, &[0x42; 40]].concat();
            assert_eq!(next(&text, 0, false), Some(Start { at: 5, data, coding }));
            assert_eq!(next(&text, 6, false), None);
        }
        let zlib = [b"text ", &b"\x78\x9c\x4b"[..], &[0; 9]].concat();
        assert_eq!(next(&zlib, 0, false), None);
        assert_eq!(next(&zlib, 0, true), Some(Start { at: 5, data: 5, coding: Coding::Zlib }));
        assert_eq!(next(&zlib[5..], 0, false), Some(Start { at: 0, data: 0, coding: Coding::Zlib }));
    }
}
