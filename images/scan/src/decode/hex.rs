//! Hexadecimal digits in pairs, bare or with something between the pairs.

use super::octet;

/// The value of each digit.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if let Some(nibble) = super::nibble(byte as u8) {
            nibbles[byte] = nibble;
        }
        byte += 1;
    }
    nibbles
};

pub(crate) fn is_digit(byte: u8) -> bool {
    (byte.wrapping_sub(b'0') < 10) | ((byte | 0x20).wrapping_sub(b'a') < 6)
}

/// Decodes the pairs of a run of digits.
pub(crate) fn run(digits: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + digits.len() / 2, 0);
    for (pair, to) in digits.as_chunks::<2>().0.iter().zip(&mut out[start..]) {
        *to = NIBBLES[usize::from(pair[0])] << 4 | NIBBLES[usize::from(pair[1])];
    }
}

/// The bytes that stand between pairs.
fn is_separator(byte: u8) -> bool {
    !byte.is_ascii_alphanumeric() && byte < 0x80
}

/// True when eight bytes may be cut from a sequence of pairs: nothing but digits, signs and the `x` of `0x`, and both of the former.
pub(crate) fn may_be_pairs(eight: &[u8; 8]) -> bool {
    let digits = eight.iter().filter(|byte| is_digit(**byte)).count();
    let separators = eight.iter().filter(|byte| is_separator(**byte)).count();
    let crosses = eight.iter().filter(|byte| **byte | 0x20 == b'x').count();
    digits + separators + crosses == 8 && digits >= 3 && separators > 0
}

/// The first place between two others where a pair, something between, and another pair stand.
pub(crate) fn pair(bytes: &[u8], from: usize, end: usize) -> Option<usize> {
    (from..end).find(|&at| octet(bytes, at).is_some() && gap(bytes, at + 2).is_some())
}

/// Where the sequence of pairs begins, not before `from`, to which the pair at `at` belongs.
pub(crate) fn first(bytes: &[u8], from: usize, mut at: usize) -> usize {
    let step = 2 + gap(bytes, at + 2).unwrap_or(0);
    while let Some(before) = at.checked_sub(step).filter(|&before| before >= from)
        && octet(bytes, before).is_some()
        && gap(bytes, before + 2) == Some(step - 2)
    {
        at = before;
    }
    at
}

/// The length of what stands between two pairs, if that is what it is.
fn gap(bytes: &[u8], at: usize) -> Option<usize> {
    let separators = bytes.get(at..)?.iter().take(4).take_while(|b| is_separator(**b)).count();
    let prefix = match bytes.get(at + separators..at + separators + 2) {
        Some(b"0x" | b"0X") => 2,
        Some([b'x' | b'X', _]) => 1,
        _ => 0,
    };
    (separators > 0 && octet(bytes, at + separators + prefix).is_some()).then_some(separators + prefix)
}

/// Decodes the longest sequence of pairs that begins at `from`: `67:68`, `67-68`, `67 68`, `0x67, 0x68`. Returns where
/// it ends.
pub(crate) fn separated(bytes: &[u8], from: usize, out: &mut Vec<u8>) -> usize {
    let mut at = from;
    while let Some(byte) = octet(bytes, at) {
        out.push(byte);
        match gap(bytes, at + 2) {
            Some(gap) => at += 2 + gap,
            None => return at + 2,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_whatever_separates_them() {
        for text in ["67:68:70", "67-68-70", "67 68 70", "0x67, 0x68, 0x70", "67, 68, 70", "67\r\n68\r\n70", "%67%68%70"] {
            let mut out = Vec::new();
            let start = pair(text.as_bytes(), 0, text.len()).unwrap();
            assert_eq!((separated(text.as_bytes(), start, &mut out), out.as_slice()), (text.len(), &b"ghp"[..]), "{text}");
        }
    }

    #[test]
    fn what_may_be_pairs_is_seen_wherever_a_sequence_is_cut() {
        for text in [
            " 41 42 43 44 45 46 47 48",
            ":4a:4b:4c:4d:4e:4f:50:51",
            "-41-42-43-44-45-46-47-48",
            " 41, 42, 43, 44, 45, 46, ",
            " 0x41, 0x42, 0x43, 0x44, ",
        ] {
            let windows = text.as_bytes().windows(8).filter(|eight| may_be_pairs(eight.first_chunk().unwrap())).count();
            assert_eq!(windows, text.len() - 7, "{text}");
        }
        for text in [b"a sample", b"deadbeef", b"12--,,..", b"caf\xc3\xa9 41"] {
            assert!(!may_be_pairs(text), "{}", text.escape_ascii());
        }
    }
}
