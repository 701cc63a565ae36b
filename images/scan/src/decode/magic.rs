//! Where compressed data begins: the magic numbers of the formats.

use super::inflate::Coding;

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

/// Where compressed data may begin, by format. The magic number of zlib is short: it is looked for at the beginning only, or
/// `zlib_everywhere`.
pub(crate) fn starts(bytes: &[u8], zlib_everywhere: bool) -> impl Iterator<Item = Start> {
    // Of each magic number the byte that is rarest in text.
    let strong = memchr::memchr3_iter(0x1f, 0xb5, 3, bytes).filter_map(|at| strong(bytes, at));
    let first = if zlib_everywhere { bytes } else { &bytes[..bytes.len().min(1)] };
    let zlib = memchr::memchr_iter(ZLIB[0][0], first).filter(|&at| is_zlib(&bytes[at..]));
    strong.chain(zlib.map(|at| Start { at, data: at, coding: Coding::Zlib }))
}

/// The longer magic number to which the byte at `at` belongs.
fn strong(bytes: &[u8], at: usize) -> Option<Start> {
    let begins = |before: usize| at.checked_sub(before).map(|start| (start, &bytes[start..]));
    match bytes[at] {
        0x1f => begins(0).filter(|(_, rest)| rest.len() > 12 && rest.starts_with(STRONG[0]) && rest[3] < 0x20).map(|(at, _)| Start {
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

    #[test]
    fn each_format_is_recognised_wherever_it_begins() {
        let zip = [&b"PK\x03\x04\x14\0\0\0\x08\0"[..], &[0; 16], &[1, 0, 0, 0], b"n"].concat();
        let strong = [(&b"\x1f\x8b\x08\0"[..], 0, Coding::Gzip), (b"\x28\xb5\x2f\xfd", 0, Coding::Zstd), (&zip, 31, Coding::Deflate)];
        for (magic, header, coding) in strong.into_iter().chain([(&b"x\x9c\x4b"[..], 0, Coding::Zlib)]) {
            for (at, after) in (0..140).flat_map(|at| [12, 20, 90].map(|after| (at, after))) {
                let text = [vec![b' '; at].as_slice(), magic, &vec![0x42; after]].concat();
                let expected = [Start { at, data: at + header, coding }];
                assert_eq!(starts(&text, true).collect::<Vec<_>>(), expected, "{}", text.escape_ascii());
                let at_beginning = coding != Coding::Zlib || at == 0;
                assert_eq!(starts(&text, false).count(), usize::from(at_beginning), "{}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn what_only_looks_like_a_magic_number_is_none() {
        for text in [&b"\x1f\x8b\x09\0 and so on and on"[..], b"\xb5\x2f\xfd\0", b"\x03\x04", b"x\x9c\x06\0\0\0", b"PK\x03\x04", b"x", b""]
        {
            assert_eq!(starts(text, true).count(), 0, "{}", text.escape_ascii());
        }
    }
}
