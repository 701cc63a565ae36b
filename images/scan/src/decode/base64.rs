//! Base64 in both alphabets (RFC 4648, sections 4 and 5), padded or not.

use std::sync::LazyLock;

use super::alignment::{self, Alignments};
use crate::prefilter;

/// The alphabet of section 4.
pub(crate) const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// The alphabet of section 5.
pub(crate) const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What is not a base64 character.
const NONE: u8 = 0xff;

/// Both alphabets in one: `+` and `-` are 62, `/` and `_` are 63.
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut i = 0;
    while i < 26 {
        values[b'A' as usize + i] = i as u8;
        values[b'a' as usize + i] = i as u8 + 26;
        i += 1;
    }
    let mut i = 0;
    while i < 10 {
        values[b'0' as usize + i] = i as u8 + 52;
        i += 1;
    }
    values[b'+' as usize] = 62;
    values[b'-' as usize] = 62;
    values[b'/' as usize] = 63;
    values[b'_' as usize] = 63;
    values
};

/// Of a run of either alphabet.
pub(crate) static ALIGNMENTS: LazyLock<Alignments<4>> = LazyLock::new(|| Alignments::new(&VALUES, 6, true));

/// [`VALUES`] shifted to each of the four places of a group. Other bytes count as zero.
const PLACES: [[u32; 256]; 4] = {
    let mut places = [[0; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        if VALUES[byte] != NONE {
            let mut place = 0;
            while place < 4 {
                places[place][byte] = (VALUES[byte] as u32) << (26 - 6 * place);
                place += 1;
            }
        }
        byte += 1;
    }
    places
};

/// The characters of `bits` bits each that `bytes` alone decides, when `before` bytes stand in front of it.
pub(crate) fn fixed(bytes: &[u8], before: usize, bits: usize, alphabet: &[u8]) -> Vec<u8> {
    alignment::fixed(bytes, before, bits).into_iter().map(|value| alphabet[usize::from(value)]).collect()
}

/// True for a character of either alphabet.
pub(crate) fn is_base64(byte: u8) -> bool {
    // Ranges, which become vector instructions, and no table. `/` stands right before `0`.
    ((byte | 0x20).wrapping_sub(b'a') < 26) | (byte.wrapping_sub(b'/') < 11) | (byte == b'+') | (byte == b'-') | (byte == b'_')
}

/// The end of the run of base64 characters that begins at `from`.
pub(crate) fn end(bytes: &[u8], from: usize) -> usize {
    prefilter::end_of_run::<16>(bytes, from, is_base64)
}

/// Decodes a run of base64 characters, and the whole bytes of an unfinished last group.
pub(crate) fn run(text: &[u8], out: &mut Vec<u8>) {
    let (groups, rest) = text.as_chunks::<4>();
    let start = out.len();
    out.resize(start + groups.len() * 3, 0);
    for (group, to) in groups.iter().zip(out[start..].as_chunks_mut::<3>().0) {
        let bits = PLACES[0][usize::from(group[0])]
            | PLACES[1][usize::from(group[1])]
            | PLACES[2][usize::from(group[2])]
            | PLACES[3][usize::from(group[3])];
        let [a, b, c, _] = bits.to_be_bytes();
        *to = [a, b, c];
    }
    let bits = rest.iter().fold(0u32, |bits, &b| bits << 6 | u32::from(VALUES[usize::from(b)] & 63));
    match rest.len() {
        2 => out.push((bits >> 4) as u8),
        3 => out.extend([(bits >> 10) as u8, (bits >> 2) as u8]),
        _ => {}
    }
}

/// The decoder of a run that arrives in chunks, wrapped or not.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Characters of an unfinished group.
    group: Vec<u8>,
    escaped: bool,
}

impl Decoder {
    /// Decodes the next chunk as far as the run goes. False at its end.
    pub(crate) fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> bool {
        let mut at = 0;
        while at < chunk.len() {
            match chunk[at] {
                // The letter of an escaped line end, or an escaped slash.
                b'n' | b'r' if self.escaped => {}
                b'\\' | b'\r' | b'\n' | b' ' | b'\t' => {}
                byte if is_base64(byte) => {
                    let until = end(chunk, at);
                    self.group.extend_from_slice(&chunk[at..until]);
                    at = until - 1;
                }
                _ => {
                    run(&self.group, out);
                    self.group.clear();
                    return false;
                }
            }
            self.escaped = chunk[at] == b'\\';
            at += 1;
        }
        let whole = self.group.len() / 4 * 4;
        run(&self.group[..whole], out);
        self.group.drain(..whole);
        true
    }

    /// The last, unfinished group.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        run(&self.group, out);
        self.group.clear();
    }
}

/// Decodes a whole text that is nothing but base64.
pub(crate) fn strict(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    let mut out = Vec::with_capacity(text.len());
    (text.iter().all(|&b| is_base64(b)) && text.len() % 4 != 1).then(|| run(text, &mut out))?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_of_each_alignment_are_those_that_no_neighbour_changes() {
        // "Man" is TWFu; with one byte before, its last two digits' worth is fixed, and so on (RFC 4648, section 4).
        assert_eq!(fixed(b"ManMan", 0, 6, STANDARD), b"TWFuTWFu");
        assert_eq!(fixed(b"ManMan", 1, 6, STANDARD), b"1hbk1hb");
        assert_eq!(fixed(b"foobar", 0, 5, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), b"MZXW6YTBO");
    }

    #[test]
    fn a_run_in_chunks_decodes_like_a_whole_one() {
        for text in ["c2l4dGVlbiBsZXR0ZXJzIQ", "c2l4dGVl\r\nbiBsZXR0\n  ZXJzIQ", "c2l4dGVl\\nbiBsZXR0\\r\\nZXJzIQ"] {
            for cut in 0..text.len() {
                let (mut decoder, mut out) = (Decoder::default(), Vec::new());
                assert!(decoder.feed(&text.as_bytes()[..cut], &mut out));
                assert!(!decoder.feed(format!("{}\"", &text[cut..]).as_bytes(), &mut out));
                assert_eq!(out, b"sixteen letters!", "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn the_vectors_of_the_standard_decode() {
        // RFC 4648, section 10.
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg", "foob"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(strict(text.as_bytes()).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(strict(b"-_-_"), strict(b"+/+/"));
        assert_eq!(strict(b"Zg=a"), None);
    }
}
