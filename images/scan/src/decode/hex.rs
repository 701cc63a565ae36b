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
    (byte.wrapping_sub(b'0') < 10) | ((byte | 0x20).wrapping_sub(b'a') < 6)
}

/// Calls `visit` with each long enough stretch of a run that consists of `digit`s.
pub(crate) fn stretches<E>(run: &[u8], digit: impl Fn(u8) -> bool, mut visit: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut done = 0;
    // Each long enough stretch holds sixteen digits that begin at a multiple of sixteen.
    for (i, chunk) in run.as_chunks::<{ SHORTEST / 2 }>().0.iter().enumerate() {
        let at = i * SHORTEST / 2;
        if at < done || !chunk.iter().fold(true, |all, &b| all & digit(b)) {
            continue;
        }
        let start = done + run[done..at].iter().rposition(|&b| !digit(b)).map_or(0, |before| before + 1);
        done = at + run[at..].iter().position(|&b| !digit(b)).unwrap_or(run.len() - at);
        if done - start >= SHORTEST {
            visit(&run[start..done])?;
        }
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
