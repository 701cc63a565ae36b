//! Which alignments of a run of digits could hide something: cheaper than to decode it once for each, and words of languages and
//! programs seldom have one.

use std::array::from_fn;

use super::magic;

/// What text is told by: fifteen bytes of ASCII in a row.
const ROW_BITS: usize = 15 * 8;

/// A byte of one for each alignment.
const ONES: u64 = 0x0101_0101_0101_0101;

/// So many digits at a time are counted: a counter of eight bits, which begins at no more than a row, takes no more.
const COUNTED: usize = 96;

/// The alignments of an encoding whose digits form groups of `PLACES`, with a bit or a byte for each of them.
#[derive(Debug)]
pub(crate) struct Alignments<const PLACES: usize> {
    /// For a digit at each place of a group, in one byte for each alignment: zero where the top bit of a byte, which this digit
    /// holds, is set.
    ascii: [[u64; 256]; PLACES],
    /// The digits of a row.
    row: u64,
    /// By the first and by the second digit of a beginning of compressed data: a bit for each that may stand there.
    first: [u32; 256],
    second: [u32; 256],
    beginnings: Vec<Beginning>,
    values: [u8; 256],
}

/// Digits that only compressed data begins with.
#[derive(Debug)]
struct Beginning {
    values: Vec<u8>,
    /// The place of the first of them in its group.
    place: usize,
    /// It counts in the first group only.
    at_start: bool,
}

impl<const PLACES: usize> Alignments<PLACES> {
    /// Those of digits with these values, of `bits` bits each. The short beginnings of zlib's data count where a run begins, or
    /// everywhere.
    pub(crate) fn new(values: &[u8; 256], bits: usize, zlib_everywhere: bool) -> Self {
        // The top bit of each byte of a group is a bit of one digit.
        let tops: [u8; PLACES] =
            from_fn(|place| (0..bits).filter(|bit| (place * bits + bit).is_multiple_of(8)).fold(0, |top, bit| top | 1 << (bits - 1 - bit)));
        let byte =
            |place: usize, value: u8, shift: usize| u64::from(value & tops[(place + PLACES - shift) % PLACES] == 0) * (0xff << (8 * shift));
        let ascii = from_fn(|place| from_fn(|digit| (0..PLACES).fold(0, |bytes, shift| bytes | byte(place, values[digit], shift))));
        let magics = magic::STRONG.map(|magic| (magic, false)).into_iter().chain(magic::ZLIB.map(|magic| (magic, !zlib_everywhere)));
        let magics: Vec<(&[u8], bool)> = magics.collect();
        let beginnings: Vec<_> = (0..PLACES * bits / 8)
            .flat_map(|before| magics.iter().map(move |(magic, at_start)| (before, magic, *at_start)))
            .filter(|(before, _, at_start)| *before == 0 || !at_start)
            .map(|(before, magic, at_start)| Beginning { values: fixed(magic, before, bits), place: (before * 8).div_ceil(bits), at_start })
            .collect();
        assert!(beginnings.len() <= 32 && beginnings.iter().all(|beginning| beginning.values.len() >= 2));
        let at = |index: usize| {
            from_fn(|digit| {
                beginnings
                    .iter()
                    .enumerate()
                    .fold(0, |found, (i, beginning)| found | u32::from(beginning.values[index] == values[digit]) << i)
            })
        };
        Self { ascii, row: (ROW_BITS / bits) as u64, first: at(0), second: at(1), beginnings, values: *values }
    }

    /// Which alignments have a stretch that decodes to ASCII, one bit each.
    pub(crate) fn ascii(&self, digits: &[u8]) -> u8 {
        let enough = (0x80 - self.row) * ONES;
        let (mut rows, mut found) = (0u64, 0u64);
        for some in digits.chunks(COUNTED) {
            for (i, &digit) in some.iter().enumerate() {
                rows = (rows + ONES) & self.ascii[i % PLACES][usize::from(digit)];
                found |= rows + enough;
            }
            let long = ((rows + enough) >> 7 & ONES) * 0xff;
            rows = (rows & !long) | ((self.row * ONES) & long);
        }
        (0..PLACES).fold(0, |bits, shift| bits | ((found >> (8 * shift + 7) & 1) as u8) << shift)
    }

    /// Which alignments have the beginning of compressed data, one bit each; more of them than there are, but seldom.
    pub(crate) fn compressed(&self, digits: &[u8]) -> u8 {
        let pairs = digits.iter().zip(digits.get(1..).unwrap_or_default());
        let candidates = pairs.enumerate().map(|(at, (a, b))| (at, self.first[usize::from(*a)] & self.second[usize::from(*b)]));
        candidates.filter(|(_, bits)| *bits != 0).fold(0, |found, (at, bits)| {
            let stand = self.beginnings.iter().enumerate().filter(|(i, beginning)| {
                let rest = digits[at..].iter().map(|digit| self.values[usize::from(*digit)]);
                bits >> i & 1 == 1
                    && (at < PLACES || !beginning.at_start)
                    && rest.take(beginning.values.len()).eq(beginning.values.iter().copied())
            });
            stand.fold(found, |found, (_, beginning)| found | 1 << ((at + PLACES - beginning.place) % PLACES))
        })
    }
}

/// The values of the digits of `bits` bits each that `bytes` alone decides, when `before` bytes stand in front of it.
pub(crate) fn fixed(bytes: &[u8], before: usize, bits: usize) -> Vec<u8> {
    let (start, end) = ((before * 8).div_ceil(bits), (before + bytes.len()) * 8 / bits);
    let bit = |at: usize| bytes[at / 8 - before] >> (7 - at % 8) & 1;
    (start..end).map(|digit| (0..bits).fold(0, |value, i| value << 1 | bit(digit * bits + i))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{base32, base64};

    /// Rows of what stands at each alignment of a text, behind digits of `before` and in front of digits of `after`.
    fn alignments(text: &str, before: &str, after: &str, of: impl Fn(&[u8]) -> u8) -> Vec<u8> {
        (0..before.len()).map(|shift| of(format!("{}{text}{after}", &before[..shift]).as_bytes())).collect()
    }

    #[test]
    fn the_alignment_of_hidden_ascii_is_told() {
        // "sixteen letters!" behind digits, and before as many as a long run has.
        let told = alignments("c2l4dGVlbiBsZXR0ZXJzIQ", "/9v/", &"/".repeat(300), |digits| base64::ALIGNMENTS.ascii(digits));
        assert_eq!(told, [1, 2, 4, 8]);
        let told = alignments("ONUXQ5DFMVXCA3DFOR2GK4TTEE", "74QW4277", &"7".repeat(300), |digits| base32::ALIGNMENTS.ascii(digits));
        assert_eq!(told, [1, 2, 4, 8, 16, 32, 64, 128]);
        for harmless in ["getOwnPropertyDescriptorsOfPrototype", "rolecontenttypetexttypeidnameinputcommand"] {
            assert_eq!((base64::ALIGNMENTS.ascii(harmless.as_bytes()), base32::ALIGNMENTS.ascii(harmless.as_bytes())), (0, 0));
        }
    }

    #[test]
    fn the_alignment_of_compressed_data_is_told() {
        // 1f 8b 08 and zeros; 78 9c 4b in base64.
        for text in ["H4sIAAAAAAAA", "eJxL"] {
            assert_eq!(alignments(text, "////", "", |digits| base64::ALIGNMENTS.compressed(digits)), [1, 2, 4, 8], "{text}");
        }
        for text in ["D6FQQAAAAAAA", "d6fqqaaaaaaa"] {
            let told = alignments(text, "zzzzzzzz", "", |digits| base32::ALIGNMENTS.compressed(digits));
            assert_eq!(told, [1, 2, 4, 8, 16, 32, 64, 128], "{text}");
        }
        // The short beginning of zlib's data, 78 9c, counts where a run of base32 begins.
        let told = ["PCOEWAAA".to_owned(), format!("{}PCOEWAAA", "A".repeat(8))].map(|text| base32::ALIGNMENTS.compressed(text.as_bytes()));
        assert_eq!(told, [1, 0]);
        for harmless in ["getOwnPropertyDescriptorsOfPrototype", "rolecontenttypetexttypeidnameinputcommand"] {
            assert_eq!((base64::ALIGNMENTS.compressed(harmless.as_bytes()), base32::ALIGNMENTS.compressed(harmless.as_bytes())), (0, 0));
        }
    }

    #[test]
    fn whatever_decodes_to_text_or_compressed_data_is_told() {
        let noise =
            |seed: u64| (0..40u64).map(move |i| (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(i as u32 * 7) >> 13) as u8 | 0x80);
        for (seed, hidden) in (0..200).flat_map(|seed| {
            [&b"sixteen\tletters!"[..], b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"\x78\xda"].map(|hidden| (seed, hidden))
        }) {
            let before = seed as usize % 17;
            let bytes: Vec<u8> = noise(seed).take(before).chain(hidden.iter().copied()).chain(noise(seed + 7)).collect();
            let digits = super::fixed(&bytes, 0, 6).into_iter().map(|value| base64::URL[usize::from(value)]).collect::<Vec<_>>();
            let told = base64::ALIGNMENTS.ascii(&digits) | base64::ALIGNMENTS.compressed(&digits);
            assert_eq!(told & 1, 1, "{hidden:?} behind {before}");
        }
    }
}
