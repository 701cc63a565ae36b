//! A look at each 64 bytes of a text: which decoders have anything to do there.
//!
//! Written as plain loops over small arrays with no branch inside, which the compiler turns into vector instructions.

/// Bytes of a block.
pub(crate) const BLOCK: usize = 64;

/// How far conditions look beyond a block's end.
const AHEAD: usize = 8;

/// `%` before two hexadecimal digits.
pub(crate) const PERCENT: u8 = 1;
/// A backslash before something that hides a character.
pub(crate) const BACKSLASH: u8 = 2;
/// `&` before `#` or two letters.
pub(crate) const AMPERSAND: u8 = 4;
/// `=` before two hexadecimal digits or a line end.
pub(crate) const EQUALS: u8 = 8;
/// A byte that is not ASCII.
pub(crate) const HIGH: u8 = 16;
/// A zero byte.
pub(crate) const ZERO: u8 = 32;

/// The flags of each block of a text.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    flags: Vec<u8>,
    any: u8,
    /// Multiples of sixteen at which eight base64 digits stand: each run of 23 has them.
    pub(crate) runs: Vec<u32>,
    /// Multiples of sixteen at which eight bytes stand that pairs of hexadecimal digits, with something between them,
    /// could be.
    pub(crate) pairs: Vec<u32>,
}

impl Survey {
    /// Surveys `bytes`, forgetting what was surveyed before.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.flags.clear();
        self.runs.clear();
        self.pairs.clear();
        self.any = 0;
        let mut at = 0;
        while let Some(block) = bytes.get(at..at + BLOCK + AHEAD).and_then(|block| block.first_chunk()) {
            self.add(flags(block));
            self.eights(block, at);
            at += BLOCK;
        }
        while at < bytes.len() {
            let mut block = [b' '; BLOCK + AHEAD];
            let rest = &bytes[at..bytes.len().min(at + BLOCK + AHEAD)];
            block[..rest.len()].copy_from_slice(rest);
            self.add(flags(&block));
            self.eights(&block, at);
            at += BLOCK;
        }
    }

    /// Looks at the first eight of each sixteen bytes.
    fn eights(&mut self, block: &[u8; BLOCK + AHEAD], at: usize) {
        for (i, sixteen) in block[..BLOCK].as_chunks::<16>().0.iter().enumerate() {
            let mut sum = 0;
            for byte in &sixteen[..8] {
                sum += COUNTS[usize::from(*byte)];
            }
            if sum & 15 == 8 {
                self.runs.push((at + 16 * i) as u32);
            } else if (3 << 4..1 << 8).contains(&sum) {
                self.pairs.push((at + 16 * i) as u32);
            }
        }
    }

    fn add(&mut self, flags: u8) {
        self.flags.push(flags);
        self.any |= flags;
    }

    /// True when any block has one of these flags.
    pub(crate) fn any(&self, flags: u8) -> bool {
        self.any & flags != 0
    }

    /// Asks `look` about the stretch of each flagged block that is not before `from`, in order, until it answers.
    pub(crate) fn find(&self, from: usize, flag: u8, mut look: impl FnMut(usize, usize) -> Option<usize>) -> Option<usize> {
        let first = from / BLOCK;
        let flagged = self.flags.get(first..)?.iter().enumerate().filter(|(_, have)| *have & flag != 0);
        flagged.map(|(i, _)| (first + i) * BLOCK).find_map(|start| look(start.max(from), start + BLOCK))
    }
}

/// The flags of one block.
fn flags(block: &[u8; BLOCK + AHEAD]) -> u8 {
    let (mut high, mut zero) = (0u8, 0u8);
    let mut signs = [0u8; BLOCK];
    for i in 0..BLOCK {
        let b = block[i];
        high |= b;
        zero |= u8::from(b == 0);
        signs[i] = u8::from(b == b'%') | u8::from(b == b'\\') | u8::from(b == b'&') | u8::from(b == b'=');
    }
    let mut flags = ((high >> 7) * HIGH) | (zero * ZERO);
    for (i, eight) in signs.as_chunks::<8>().0.iter().enumerate() {
        let mut left = u64::from_le_bytes(*eight);
        while left != 0 {
            flags |= mark(block, 8 * i + left.trailing_zeros() as usize / 8);
            left &= left - 1;
        }
    }
    flags
}

/// The flag of the mark that begins with the sign at `at`, if it is one.
fn mark(block: &[u8; BLOCK + AHEAD], at: usize) -> u8 {
    let (next, after) = (block[at + 1], block[at + 2]);
    match block[at] {
        b'%' if next.is_ascii_hexdigit() && after.is_ascii_hexdigit() => PERCENT,
        b'=' if next.is_ascii_hexdigit() && after.is_ascii_hexdigit() || matches!(next, b'\r' | b'\n') => EQUALS,
        b'\\' if matches!(next, b'u' | b'U' | b'x' | b'/' | b'0'..=b'7') => BACKSLASH,
        b'&' if next == b'#' || next.is_ascii_alphabetic() && after.is_ascii_alphabetic() => AMPERSAND,
        _ => 0,
    }
}

/// What a byte counts for in [`Survey::eights`]: base64 digits, from bit 4 hexadecimal digits, from bit 8 what stands in no
/// sequence of pairs.
const COUNTS: [u16; 256] = {
    let mut counts = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_') {
            counts[byte] |= 1;
        }
        if b.is_ascii_hexdigit() {
            counts[byte] |= 1 << 4;
        }
        if b >= 0x80 || b.is_ascii_alphabetic() && !b.is_ascii_hexdigit() && b | 0x20 != b'x' {
            counts[byte] |= 1 << 8;
        }
        byte += 1;
    }
    counts
};

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &[u8]) -> Survey {
        let mut survey = Survey::default();
        survey.take(text);
        survey
    }

    #[test]
    fn each_flag_is_raised_wherever_its_mark_stands() {
        for before in 0..140 {
            for (text, flag) in [
                ("%4a", PERCENT),
                ("\\u", BACKSLASH),
                ("\\/", BACKSLASH),
                ("&#", AMPERSAND),
                ("&am", AMPERSAND),
                ("=4a", EQUALS),
                ("=\n", EQUALS),
                ("é", HIGH),
                ("\0", ZERO),
            ] {
                let text = format!("{}{text}{}", " ".repeat(before), " ".repeat(8));
                assert_eq!(of(text.as_bytes()).any, flag, "{text:?}");
            }
        }
    }

    #[test]
    fn runs_and_pairs_are_seen_wherever_they_stand() {
        for before in 0..140 {
            for (text, runs, pairs) in [
                (" 41 42 43 44 45 46 47 48", 0, 1),
                (":4a:4b:4c:4d:4e:4f:50:51", 0, 1),
                (" 41, 42, 43, 44, 45, 46, ", 0, 1),
                (" 0x41, 0x42, 0x43, 0x44, 0x45, ", 0, 1),
                ("abcdefghijklmnopqrstuvw", 1, 0),
            ] {
                let text = format!("{}{text}{}", " ".repeat(before), " ".repeat(8));
                let survey = of(text.as_bytes());
                assert!(survey.runs.len() >= runs && survey.pairs.len() >= pairs, "{text:?}");
            }
        }
    }

    #[test]
    fn prose_raises_no_flag() {
        let survey = of(b"Keys & tokens: 100% of them, \\n and \"quotes\" = harmless (see it), isn't it? x = y.");
        assert_eq!((survey.any, survey.runs.len(), survey.pairs.len()), (0, 0, 0));
    }
}
