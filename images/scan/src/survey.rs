//! A look at each 64 bytes of a text: which decoders have anything to do there, and where runs of digits stand.
//!
//! Each question is a mask with a bit for each byte of a block. What asks about a byte's neighbours shifts masks, with those of the next
//! block behind them, so that no answer depends on where a block ends.

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd, dispatch, u8x64};

use crate::decode::escape::NAMES;
use crate::vectors::within;

/// Bytes of a block.
pub(crate) const BLOCK: usize = 64;

/// `%` before two hexadecimal digits.
pub(crate) const PERCENT: u8 = 1;
/// A backslash before something that hides a character.
pub(crate) const BACKSLASH: u8 = 2;
/// `&` before `#` or what names of characters begin with.
pub(crate) const AMPERSAND: u8 = 4;
/// `=` before two upper case hexadecimal digits or a line end.
pub(crate) const EQUALS: u8 = 8;
/// A byte that is not ASCII.
pub(crate) const HIGH: u8 = 16;
/// Two zero bytes around another one.
pub(crate) const ZERO: u8 = 32;

/// The fewest digits of a run that is told.
const RUN: usize = 16;

/// The fewest hexadecimal digits that eight bytes of a sequence of pairs have.
const FEWEST_HEX: u32 = 4;

/// Each sixteenth byte of a block.
const SIXTEENTHS: u64 = 0x0001_0001_0001_0001;

/// What is known of a text.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Of each block.
    flags: Vec<u8>,
    any: u8,
    /// Where the runs of at least [`RUN`] base64 digits begin and end.
    pub(crate) runs: Vec<(u32, u32)>,
    /// Multiples of sixteen at which eight bytes stand that pairs of hexadecimal digits, with something between them, could be.
    pub(crate) pairs: Vec<u32>,
}

/// The masks of one block.
#[derive(Clone, Copy, Default)]
struct Masks {
    high: u64,
    zero: u64,
    /// `%`, a backslash, `&` and `=`.
    signs: u64,
    /// Of base64, in either alphabet.
    digits: u64,
    hex: u64,
    /// What stands in no sequence of pairs.
    foreign: u64,
}

impl Survey {
    /// Surveys `bytes`, forgetting what was surveyed before.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.take_with(Level::new(), bytes);
    }

    /// The same with what a processor of this level has.
    fn take_with(&mut self, level: Level, bytes: &[u8]) {
        self.flags.clear();
        self.flags.resize(bytes.len().div_ceil(BLOCK), 0);
        self.runs.clear();
        self.pairs.clear();
        self.any = 0;
        dispatch!(level, simd => self.blocks(simd, bytes));
    }

    #[inline(always)]
    fn blocks<S: Simd>(&mut self, simd: S, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        let mut last = [b' '; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        let mut all = blocks.iter().chain(Some(&last).filter(|_| !rest.is_empty()));
        let Some(mut block) = all.next() else { return };
        let mut masks = Masks::of(simd, block);
        let (mut at, mut runs) = (0, 0);
        loop {
            let next = all.next();
            let behind = next.map_or(Masks::default(), |next| Masks::of(simd, next));
            let flags = masks.flags(simd, block, next.unwrap_or(&[b' '; BLOCK]), &behind);
            self.flags[at / BLOCK] = flags;
            self.any |= flags;
            self.runs(at, masks.runs(&behind), &mut runs);
            self.pairs(at, &masks, bytes.len());
            (at, masks) = (at + BLOCK, behind);
            match next {
                Some(next) => block = next,
                None => break,
            }
        }
    }

    /// Takes the places of a block at which [`RUN`] digits begin. A run begins at the first of them, and ends so many behind the last.
    #[inline(always)]
    fn runs(&mut self, at: usize, begin: u64, before: &mut u64) {
        let mut changes = begin ^ (begin << 1 | *before);
        while changes != 0 {
            let place = changes.trailing_zeros();
            if begin >> place & 1 == 1 {
                self.runs.push(((at + place as usize) as u32, 0));
            } else if let Some((_, end)) = self.runs.last_mut() {
                *end = (at + place as usize + RUN - 1) as u32;
            }
            changes &= changes - 1;
        }
        *before = begin >> (BLOCK - 1);
    }

    #[inline(always)]
    fn pairs(&mut self, at: usize, masks: &Masks, length: usize) {
        let mut eights = !masks.foreign;
        eights &= eights >> 1;
        eights &= eights >> 2;
        eights &= eights >> 4;
        eights &= SIXTEENTHS;
        while eights != 0 {
            let place = eights.trailing_zeros();
            let eight = |mask: u64| (mask >> place & 0xff).count_ones();
            if eight(masks.hex) >= FEWEST_HEX && eight(masks.digits) < 8 && at + place as usize + 8 <= length {
                self.pairs.push((at + place as usize) as u32);
            }
            eights &= eights - 1;
        }
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

impl Masks {
    #[inline(always)]
    fn of<S: Simd>(simd: S, block: &[u8; BLOCK]) -> Self {
        let bytes = u8x64::simd_from(simd, *block);
        let folded = bytes | 0x20;
        let is = |byte: u8| bytes.simd_eq(byte);
        let high = bytes.simd_ge(0x80);
        let (letter, number) = (within(folded, b'a', 26), within(bytes, b'0', 10));
        let hex_letter = within(folded, b'a', 6);
        Self {
            high: high.to_bitmask(),
            zero: is(0).to_bitmask(),
            signs: (is(b'%') | is(b'\\') | is(b'&') | is(b'=')).to_bitmask(),
            digits: (letter | number | is(b'+') | is(b'/') | is(b'-') | is(b'_')).to_bitmask(),
            hex: (hex_letter | number).to_bitmask(),
            foreign: (high | letter & !hex_letter & !folded.simd_eq(b'x')).to_bitmask(),
        }
    }

    /// The places at which [`RUN`] digits begin.
    #[inline(always)]
    fn runs(&self, behind: &Self) -> u64 {
        let mut digits = u128::from(self.digits) | u128::from(behind.digits) << BLOCK;
        for shift in [1, 2, 4, 8] {
            digits &= digits >> shift;
        }
        digits as u64
    }

    #[inline(always)]
    fn flags<S: Simd>(&self, simd: S, block: &[u8; BLOCK], next: &[u8; BLOCK], behind: &Self) -> u8 {
        let mut flags = 0;
        if self.zero != 0 && self.zero & !after(self.zero, behind.zero, 1) & after(self.zero, behind.zero, 2) != 0 {
            flags |= ZERO;
        }
        if self.high != 0 && !is_binary(simd, block) {
            flags |= HIGH;
        }
        let mut left = self.signs;
        while left != 0 {
            flags |= mark(block, next, left.trailing_zeros() as usize);
            left &= left - 1;
        }
        flags
    }
}

/// The flag of the mark that begins with the sign at `at`, if it is one: no branch, for signs come in no order.
#[inline(always)]
fn mark(block: &[u8; BLOCK], next: &[u8; BLOCK], at: usize) -> u8 {
    let [sign, second, third] = match block.get(at..at + 3) {
        Some(three) => [three[0], three[1], three[2]],
        None => [block[at], if at + 1 < BLOCK { block[at + 1] } else { next[0] }, next[at + 2 - BLOCK]],
    };
    SIGNS[usize::from(sign)] & (SECONDS[usize::from(second)] | FIRST_OF_TWO[usize::from(second)] & LAST_OF_TWO[usize::from(third)])
}

/// What a mask says of the byte so many places behind each one.
#[inline(always)]
fn after(mask: u64, behind: u64, places: u32) -> u64 {
    mask >> places | behind << (u64::BITS - places)
}

/// True when too many bytes stand in no text: there are no letters to dress up.
#[inline(always)]
fn is_binary<S: Simd>(simd: S, block: &[u8; BLOCK]) -> bool {
    let bytes = u8x64::simd_from(simd, *block);
    let foreign = bytes.simd_lt(9) | within(bytes, 14, 18) | bytes.simd_gt(0xf4);
    foreign.to_bitmask().count_ones() >= 8
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

/// The flags of the marks that a second and a third byte allow together, by the one and by the other.
const FIRST_OF_TWO: [u8; 256] = of_two(0);
const LAST_OF_TWO: [u8; 256] = of_two(1);

const fn of_two(place: usize) -> [u8; 256] {
    let mut flags = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if (byte as u8).is_ascii_hexdigit() {
            flags[byte] |= PERCENT;
            // Quoted-printable is written in upper case.
            flags[byte] |= if (byte as u8).is_ascii_lowercase() { 0 } else { EQUALS };
        }
        byte += 1;
    }
    let mut names = NAMES.as_slice();
    while let [(name, _), rest @ ..] = names {
        flags[name[place] as usize] |= AMPERSAND;
        names = rest;
    }
    flags
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::base64;
    use crate::vectors::levels;

    /// What a look with each kind of vectors sees.
    fn of(text: &[u8]) -> Survey {
        let surveys = levels().into_iter().map(|level| {
            let mut survey = Survey::default();
            survey.take_with(level, text);
            survey
        });
        surveys
            .reduce(|one, other| {
                assert_eq!((&one.flags, &one.runs, &one.pairs), (&other.flags, &other.runs, &other.pairs), "{}", text.escape_ascii());
                other
            })
            .unwrap()
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
                ("=4A", EQUALS),
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
    fn each_name_of_a_character_raises_its_flag() {
        for (name, _) in NAMES {
            assert_eq!(of(&[b" &", name].concat()).any, AMPERSAND, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn pairs_are_seen_wherever_they_stand() {
        for before in 0..140 {
            for text in [
                " 41 42 43 44 45 46 47 48",
                ":4a:4b:4c:4d:4e:4f:50:51",
                " 41, 42, 43, 44, 45, 46, ",
                " 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, ",
            ] {
                let text = format!("{}{text}{}", " ".repeat(before), " ".repeat(8));
                assert!(!of(text.as_bytes()).pairs.is_empty(), "{text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn runs_are_those_that_a_plain_look_sees(pieces in proptest::collection::vec(("[A-Za-z0-9+/_-]{0,90}", "[ .=\\\\\n\"é]{1,3}"), 0..12)) {
            let text: String = pieces.into_iter().flat_map(|(digits, signs)| [digits, signs]).collect();
            let mut runs = Vec::new();
            let mut start = 0;
            for stretch in text.as_bytes().split(|&byte| !base64::is_digit(byte)) {
                if stretch.len() >= RUN {
                    runs.push((start as u32, (start + stretch.len()) as u32));
                }
                start += stretch.len() + 1;
            }
            prop_assert_eq!(of(text.as_bytes()).runs, runs);
            // The same without the sign at the end.
            let digits = text.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let last = of(digits.as_bytes()).runs.last().copied();
            prop_assert!(last.is_none_or(|(_, end)| end as usize <= digits.len()));
        }
    }

    #[test]
    fn prose_raises_no_flag() {
        let survey = of(b"Keys & tokens: 100% of them, \\n and \"quotes\" = harmless (see it), isn't it? x = y, x=fa; a&&b");
        assert_eq!((survey.any, survey.runs.len(), survey.pairs.len()), (0, 0, 0));
    }
}
