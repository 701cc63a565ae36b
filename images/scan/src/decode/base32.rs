//! Base32 (RFC 4648, section 6), in either case.

use std::sync::LazyLock;

use super::alignment::Alignments;

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

/// Of a run in either case.
pub(crate) static ALIGNMENTS: LazyLock<Alignments<8>> = LazyLock::new(|| Alignments::new(&VALUES, 5, false));

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
    fn the_vectors_of_the_standard_decode() {
        // RFC 4648, section 10.
        for (text, bytes) in [("MY", "f"), ("MZXQ", "fo"), ("MZXW6", "foo"), ("mzxw6yq", "foob"), ("MZXW6YTBOI", "foobar")] {
            let mut out = Vec::new();
            super::run(text.as_bytes(), &mut out);
            assert_eq!(out, bytes.as_bytes());
        }
    }
}
