//! Base32 (RFC 4648, section 6), in either case.

use super::{base64, magic};

/// The alphabet.
pub(crate) const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The value of each digit, in either case.
const VALUES: [u8; 256] = {
    let mut values = [0; 256];
    let mut i = 0;
    while i < 26 {
        values[b'A' as usize + i] = i as u8;
        values[b'a' as usize + i] = i as u8;
        i += 1;
    }
    while i < 32 {
        values[b'2' as usize + i - 26] = i as u8;
        i += 1;
    }
    values
};

/// True for a digit as the standard writes it.
pub(crate) fn is_upper(byte: u8) -> bool {
    (byte.wrapping_sub(b'A') < 26) | (byte.wrapping_sub(b'2') < 6)
}

/// True for a digit as it stands in host names.
pub(crate) fn is_lower(byte: u8) -> bool {
    (byte.wrapping_sub(b'a') < 26) | (byte.wrapping_sub(b'2') < 6)
}

/// Fifteen bytes of ASCII in a row are twenty-four digits.
const ROW: u64 = 24;

/// For a digit at each of the eight places of a group, in one byte for each alignment of the group: 0 where the top bit
/// of a byte, which this digit holds, is set.
const ASCII: [[u64; 256]; 8] = {
    let mut ascii = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut at = 0;
        while at < 8 {
            let mut shift = 0;
            while shift < 8 {
                // The top bits of a group's five bytes are its bits 0, 8, 16, 24 and 32, of which each digit holds five.
                let top = match (at + 8 - shift) % 8 {
                    0 => 0b1_0000,
                    1 => 0b10,
                    3 => 0b1000,
                    4 => 0b1,
                    6 => 0b100,
                    _ => 0,
                };
                if VALUES[byte] & top == 0 {
                    ascii[at][byte] |= 0xff << (8 * shift);
                }
                shift += 1;
            }
            at += 1;
        }
        byte += 1;
    }
    ascii
};

/// Which of the eight alignments have a stretch that decodes to ASCII, one bit each. Cheaper than to decode a run eight
/// times, and words of languages and programs seldom have one.
pub(crate) fn ascii_alignments(digits: &[u8]) -> u8 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (mut row, mut found) = (0u64, 0u64);
    for (i, &digit) in digits.iter().enumerate() {
        row = (row + ONES) & ASCII[i % 8][usize::from(digit)];
        let long = (row + (0x80 - ROW) * ONES) & (0x80 * ONES);
        // A byte that has counted far enough begins anew, so that none overflows.
        found |= long;
        row &= !((long >> 7) * 0xff);
    }
    (0..8).fold(0, |bits, shift| bits | ((found >> (8 * shift + 7) & 1) as u8) << shift)
}

/// Which of the eight alignments of a run in one case have the beginning of compressed data.
pub(crate) fn compressed_alignments(digits: &[u8]) -> u8 {
    let lower = digits.iter().any(u8::is_ascii_lowercase);
    let mut found = 0;
    for (before, magic) in (0..5).flat_map(|before| magic::STRONG.map(|magic| (before, magic))) {
        let mut fixed = base64::fixed(magic, before, 5, ALPHABET);
        if lower {
            fixed.make_ascii_lowercase();
        }
        let first = (before * 8).div_ceil(5);
        found |= memchr::memmem::find_iter(digits, &fixed).fold(0, |found, at| found | 1 << ((at + 8 - first) % 8));
    }
    found
}

/// Decodes a run of digits into whole bytes.
pub(crate) fn run(digits: &[u8], out: &mut Vec<u8>) {
    let (groups, rest) = digits.as_chunks::<8>();
    let join = |digits: &[u8]| digits.iter().fold(0u64, |bits, &b| bits << 5 | u64::from(VALUES[usize::from(b)]));
    for group in groups {
        out.extend_from_slice(&join(group).to_be_bytes()[3..]);
    }
    let whole = rest.len() * 5 / 8;
    let bits = join(rest) << (64 - 5 * rest.len().max(1));
    out.extend_from_slice(&bits.to_be_bytes()[..whole]);
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_alignment_of_hidden_ascii_is_told() {
        // "sixteen letters!" behind up to seven digits, and before as many as a long run has.
        for shift in 0..8 {
            let text = format!("{}ONUXQ5DFMVXCA3DFOR2GK4TTEE{}", &"74QW427"[..shift], "7".repeat(300));
            assert_eq!(super::ascii_alignments(text.as_bytes()), 1 << shift, "{text}");
        }
        assert_eq!(super::ascii_alignments(b"rolecontenttypetexttypeidnameinputcommand"), 0);
    }

    #[test]
    fn the_alignment_of_compressed_data_is_told() {
        // 1f 8b 08 and zeros.
        for shift in 0..8 {
            let text = format!("{}D6FQQAAAAAAA", &"ZZZZZZZ"[..shift]);
            assert_eq!(super::compressed_alignments(text.as_bytes()), 1 << shift, "{text}");
            assert_eq!(super::compressed_alignments(text.to_lowercase().as_bytes()), 1 << shift, "{text}");
        }
        assert_eq!(super::compressed_alignments(b"rolecontenttypetexttypeidnameinputcommand"), 0);
    }

    #[test]
    fn the_vectors_of_the_standard_decode() {
        // RFC 4648, section 10.
        for (text, bytes) in [("MY", "f"), ("MZXQ", "fo"), ("MZXW6", "foo"), ("mzxw6yq", "foob"), ("MZXW6YTBOI", "foobar")] {
            let mut out = Vec::new();
            super::run(text.as_bytes(), &mut out);
            assert_eq!(out, bytes.as_bytes());
        }
    }
}
