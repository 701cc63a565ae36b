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

/// The next place from `from` on where a format's magic number stands. That of zlib is short: it is looked for at the
/// beginning only, or `everywhere`.
pub(crate) fn next(bytes: &[u8], from: usize, everywhere: bool) -> Option<Start> {
    let strong = strong(bytes, from);
    if !everywhere {
        return if from == 0 && is_zlib(bytes) { Some(Start { at: 0, data: 0, coding: Coding::Zlib }) } else { strong };
    }
    let zlib = memchr::memchr_iter(0x78, bytes.get(from..)?).map(|at| from + at).find(|&at| is_zlib(&bytes[at..]));
    match (zlib, strong) {
        (Some(at), strong) if strong.is_none_or(|strong| at < strong.at) => Some(Start { at, data: at, coding: Coding::Zlib }),
        (_, strong) => strong,
    }
}

/// The next magic number that chance does not write.
fn strong(bytes: &[u8], from: usize) -> Option<Start> {
    // Each has a byte that text has not: 0x1f, 0x28 0xb5, 0x03.
    let mut at = from;
    loop {
        at += memchr::memchr3(0x1f, 0xb5, 0x03, bytes.get(at..)?)?;
        let rest = &bytes[at..];
        match bytes[at] {
            0x1f if rest.len() > 12 && rest[1] == 0x8b && rest[2] == 8 && rest[3] < 0x20 => {
                return Some(Start { at, data: at, coding: Coding::Gzip });
            }
            0xb5 if at >= 1 && at > from && bytes[at - 1] == 0x28 && rest.starts_with(b"\xb5\x2f\xfd") => {
                return Some(Start { at: at - 1, data: at - 1, coding: Coding::Zstd });
            }
            0x03 if at >= from + 2 && bytes[at - 2..].starts_with(b"PK\x03\x04") => {
                // A local file header (PKWARE's application note, section 4.3.7): method at 8, lengths at 26 and 28.
                let header = &bytes[at - 2..];
                if header.len() > 30 && header[8..10] == [8, 0] {
                    let length = |i: usize| usize::from(u16::from_le_bytes([header[i], header[i + 1]]));
                    let data = at - 2 + 30 + length(26) + length(28);
                    if data < bytes.len() {
                        return Some(Start { at: at - 2, data, coding: Coding::Deflate });
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
