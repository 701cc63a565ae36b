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
/// Two zero bytes around another one.
pub(crate) const ZERO: u8 = 32;

/// The flags of each block of a text.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    flags: Vec<u8>,
    any: u8,
    /// Multiples of sixteen at which eight base64 digits stand that belong to at least sixteen: each run of 24 has them.
    pub(crate) runs: Vec<u32>,
    /// Multiples of sixteen at which eight bytes stand that pairs of hexadecimal digits, with something between them,
    /// could be.
    pub(crate) pairs: Vec<u32>,
    /// Memory to use again.
    places: Vec<u32>,
}

/// In a sum of [`COUNTS`]: the hexadecimal digits that eight bytes of a sequence of pairs have at least.
const FEWEST_HEX: u16 = 4 << 4;

/// In a sum of [`COUNTS`]: a byte that stands in no sequence of pairs.
const FOREIGN: u16 = 1 << 8;

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
            at += BLOCK;
        }
        while at < bytes.len() {
            let mut block = [b' '; BLOCK + AHEAD];
            let rest = &bytes[at..bytes.len().min(at + BLOCK + AHEAD)];
            block[..rest.len()].copy_from_slice(rest);
            self.add(flags(&block));
            at += BLOCK;
        }
        self.eights(bytes);
    }

    /// Looks at the first eight of each sixteen bytes.
    fn eights(&mut self, bytes: &[u8]) {
        let (sixteens, rest) = bytes.as_chunks::<16>();
        let first =
            |sixteen: &[u8; 16]| sum(&[sixteen[0], sixteen[1], sixteen[2], sixteen[3], sixteen[4], sixteen[5], sixteen[6], sixteen[7]]);
        // The places are written without a branch, for in code they come in no order; then each is looked at.
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        places.resize(sixteens.len() + 1, 0);
        let mut count = 0;
        for (i, sixteen) in sixteens.iter().enumerate() {
            let sum = first(sixteen);
            places[count] = i as u32;
            count += usize::from((sum & 15 == 8) | (sum.wrapping_sub(FEWEST_HEX) < FOREIGN - FEWEST_HEX));
        }
        for &i in &places[..count] {
            self.eight(bytes, i as usize * 16, first(&sixteens[i as usize]));
        }
        self.places = places;
        if let Some(eight) = rest.first_chunk() {
            self.eight(bytes, bytes.len() - rest.len(), sum(eight));
        }
    }

    fn eight(&mut self, bytes: &[u8], at: usize, sum: u16) {
        if sum & 15 != 8 {
            if (FEWEST_HEX..FOREIGN).contains(&sum) {
                self.pairs.push(at as u32);
            }
            return;
        }
        // A run of 24 that holds these eight also holds the eight before or the eight behind them.
        let digits = |from: usize| bytes.get(from..from + 8).is_some_and(|eight| eight.iter().all(|&b| COUNTS[usize::from(b)] & 1 == 1));
        if digits(at + 8) || at >= 8 && digits(at - 8) {
            self.runs.push(at as u32);
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
        zero |= u8::from(b == 0) & u8::from(block[i + 1] != 0) & u8::from(block[i + 2] == 0);
        signs[i] = u8::from(b == b'%') | u8::from(b == b'\\') | u8::from(b == b'&') | u8::from(b == b'=');
    }
    let mut flags = zero * ZERO;
    if high >= 0x80 && !is_binary(block) {
        flags |= HIGH;
    }
    // One bit for each byte: the product moves the lowest bits of eight bytes next to each other.
    let eights = signs.as_chunks::<8>().0.iter().enumerate();
    let mut left =
        eights.fold(0, |bits, (i, eight)| bits | (u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i));
    while left != 0 {
        flags |= mark(block, left.trailing_zeros() as usize);
        left &= left - 1;
    }
    flags
}

/// True when too many bytes stand in no text: there are no letters to dress up.
fn is_binary(block: &[u8; BLOCK + AHEAD]) -> bool {
    let mut foreign = 0u8;
    for &b in &block[..BLOCK] {
        foreign += u8::from(b < 9) | u8::from(b.wrapping_sub(14) < 18) | u8::from(b > 0xf4);
    }
    foreign >= 8
}

/// The flag of the mark that begins with the sign at `at`, if it is one: no branch, for signs come in no order.
fn mark(block: &[u8; BLOCK + AHEAD], at: usize) -> u8 {
    let (sign, next, after) = (block[at], block[(at + 1) % (BLOCK + AHEAD)], block[(at + 2) % (BLOCK + AHEAD)]);
    SIGNS[usize::from(sign)] & (SECONDS[usize::from(next)] | THIRDS[usize::from(next)] & THIRDS[usize::from(after)])
}

/// The flag of each sign.
const SIGNS: [u8; 256] = {
    let mut signs = [0; 256];
    signs[b'%' as usize] = PERCENT;
    signs[b'\\' as usize] = BACKSLASH;
    signs[b'&' as usize] = AMPERSAND;
    signs[b'=' as usize] = EQUALS;
    signs
};

/// The flags of the marks that a second byte decides.
const SECONDS: [u8; 256] = {
    let mut seconds = [0; 256];
    seconds[b'#' as usize] = AMPERSAND;
    seconds[b'\r' as usize] = EQUALS;
    seconds[b'\n' as usize] = EQUALS;
    let mut hides = b"uUx/01234567".as_slice();
    while let [byte, rest @ ..] = hides {
        seconds[*byte as usize] |= BACKSLASH;
        hides = rest;
    }
    seconds
};

/// The flags of the marks that a second and a third byte allow together.
const THIRDS: [u8; 256] = {
    let mut thirds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if (byte as u8).is_ascii_hexdigit() {
            thirds[byte] |= PERCENT | EQUALS;
        }
        if (byte as u8).is_ascii_alphabetic() {
            thirds[byte] |= AMPERSAND;
        }
        byte += 1;
    }
    thirds
};

/// What eight bytes count for together.
fn sum(eight: &[u8; 8]) -> u16 {
    eight.iter().map(|&b| COUNTS[usize::from(b)]).sum()
}

/// What a byte counts for in [`sum`]: base64 digits, from bit 4 hexadecimal digits, from bit 8 what stands in no
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
                ("\0a\0", ZERO),
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
                (" 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, ", 0, 1),
                ("abcdefghijklmnopqrstuvwx", 1, 0),
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
