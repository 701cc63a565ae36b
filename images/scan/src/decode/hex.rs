//! Hexadecimal digits in pairs, bare or with something between the pairs.

use super::octet;

/// The fewest digits in a row that are decoded.
const SHORTEST: usize = 32;

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
    byte.is_ascii_hexdigit()
}

/// Calls `visit` with each long enough stretch of a run that consists of `digit`s.
pub(crate) fn stretches<E>(run: &[u8], digit: fn(u8) -> bool, mut visit: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    // A stretch covers a multiple of half its least length: only there a look is needed.
    let mut at = 0;
    while at + SHORTEST <= run.len() {
        let probe = at + SHORTEST - 1;
        let start = run[at..=probe].iter().rposition(|&b| !digit(b)).map_or(at, |before| at + before + 1);
        if start > at {
            at = start;
            continue;
        }
        let end = probe + run[probe..].iter().position(|&b| !digit(b)).unwrap_or(run.len() - probe);
        visit(&run[at..end])?;
        at = end;
    }
    Ok(())
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

/// The first place between two others where a pair, something between, and another pair stand.
pub(crate) fn pair(bytes: &[u8], from: usize, end: usize) -> Option<usize> {
    (from..end).find(|&at| octet(bytes, at).is_some() && (at == 0 || !bytes[at - 1].is_ascii_hexdigit()) && gap(bytes, at + 2).is_some())
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
    fn stretches_are_found_wherever_they_begin() {
        for before in 0..70 {
            let run = format!("{}{}zz", "z".repeat(before), "0f".repeat(16 + before / 2));
            let mut found = Vec::new();
            stretches(run.as_bytes(), is_digit, |digits| {
                found.push(digits.len());
                Ok::<(), ()>(())
            })
            .unwrap();
            assert_eq!(found, [32 + before / 2 * 2], "{run}");
        }
    }
}
