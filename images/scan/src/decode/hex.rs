//! Hexadecimal digits in pairs, bare or with separators between the pairs.

use super::octet;

/// Decodes the pairs of a run of digits.
pub(crate) fn run(digits: &[u8], out: &mut Vec<u8>) {
    out.extend(digits.chunks_exact(2).filter_map(|pair| octet(pair, 0)));
}

/// Pairs with something between them, from `from` on: `67:68`, `67-68`, `67 68`, `0x67, 0x68`. Decodes the longest such
/// sequence that begins there and returns where it ends.
pub(crate) fn separated(bytes: &[u8], from: usize, out: &mut Vec<u8>) -> usize {
    let mut at = from;
    loop {
        let Some(byte) = octet(bytes, at) else { break at };
        out.push(byte);
        at += 2;
        let gap = bytes[at..]
            .iter()
            .take(6)
            .take_while(|b| matches!(b, b':' | b'-' | b' ' | b',' | b';' | b'.' | b'_' | b'\r' | b'\n' | b'\t'))
            .count();
        let prefix = match bytes.get(at + gap..at + gap + 2) {
            Some(b"0x" | b"0X" | b"\\x") => 2,
            _ => 0,
        };
        if gap + prefix == 0 || octet(bytes, at + gap + prefix).is_none() {
            break at;
        }
        at += gap + prefix;
    }
}
