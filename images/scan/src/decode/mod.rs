//! Decoders: each finds the parts of a text that its encoding made, and undoes it. Lenient on purpose: what some
//! receiver may still read is read here.

pub(crate) mod alignment;
pub(crate) mod base32;
pub(crate) mod base64;
pub(crate) mod escape;
pub(crate) mod fold;
pub(crate) mod hex;
pub(crate) mod inflate;
pub(crate) mod magic;
pub(crate) mod region;
pub(crate) mod utf16;

/// The value of a hexadecimal digit.
pub(crate) const fn nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The byte that two hexadecimal digits at `at` write.
pub(crate) fn octet(bytes: &[u8], at: usize) -> Option<u8> {
    let pair = bytes.get(at..at + 2)?;
    Some(nibble(pair[0])? << 4 | nibble(pair[1])?)
}

/// Appends a character, if `code` is one.
pub(crate) fn push_char(out: &mut Vec<u8>, code: u32) {
    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}
