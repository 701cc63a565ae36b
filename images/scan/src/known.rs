//! What may be told of a value that was found.

use sha2::{Digest, Sha256};

use crate::entropy::entropy;
use crate::finding::{BOTTLE_SECRET, HONEYTOKEN};

/// The longest block of lines, as of a key of 16,384 bits.
pub(crate) const MAX_BLOCK: usize = 12 << 10;

/// The fewest bytes of a value of which the first few are shown.
const MIN_SHOWN: usize = 20;
/// How many of them are shown.
const SHOWN: usize = 4;
/// In bits for each byte; what has fewer could be guessed from its digest.
const MIN_ENTROPY: f64 = 3.0;

/// A value, without the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its first bytes, if it is long and not one of the bottle's own, and its length.
    pub masked: String,
    /// [`digest`] in hexadecimal; none of one of the bottle's own, and of what could be guessed.
    pub digest: Option<String>,
}

impl Known {
    pub(crate) fn of(rule: &str, value: &[u8]) -> Self {
        let is_own = [BOTTLE_SECRET, HONEYTOKEN].contains(&rule);
        let is_guessable = value.len() < MIN_SHOWN || entropy(value) < MIN_ENTROPY;
        let shown = value.iter().take(if is_own || value.len() < MIN_SHOWN { 0 } else { SHOWN });
        let shown: String = shown.filter(|byte| byte.is_ascii_graphic()).map(|byte| char::from(*byte)).collect();
        let hexadecimal = || digest(value).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { masked: format!("{shown}… ({} bytes)", value.len()), digest: (!is_own && !is_guessable).then(hexadecimal) }
    }
}

/// SHA-256 of a value without white space, escaped or not: a key has the same in its file and in JSON.
pub(crate) fn digest(value: &[u8]) -> [u8; 32] {
    let mut text = Vec::with_capacity(value.len());
    let mut at = 0;
    while at < value.len() {
        match &value[at..] {
            [b'\\', b'n' | b'r' | b't', ..] => at += 1,
            [byte, ..] if !byte.is_ascii_whitespace() => text.push(*byte),
            _ => {}
        }
        at += 1;
    }
    Sha256::digest(&text).into()
}

/// Behind the line that ends a key, as PEM and PGP write it.
pub(crate) fn end_of_block(text: &[u8], from: usize) -> Option<usize> {
    const MARK: &[u8] = b"-----END";
    const HYPHENS: &[u8] = b"-----";
    let behind = from + memchr::memmem::find(text.get(from..)?, MARK)? + MARK.len();
    let label = &text[behind..text.len().min(behind + 80)];
    Some(behind + memchr::memmem::find(label, HYPHENS)? + HYPHENS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_value_is_not_the_value() {
        let token = b"ghq_u8R2mK5vX1cB7nQ4wE9zL3pT6yH0jD5sA1f";
        let known = Known::of("github-pat", token);
        assert_eq!((&known.masked[..], known.digest.map(|digest| digest.len())), ("ghq_… (39 bytes)", Some(64)));
        assert_eq!(Known::of(BOTTLE_SECRET, token), Known { masked: "… (39 bytes)".into(), digest: None });
        assert_eq!(Known::of("card-number", b"4539148803436467"), Known { masked: "… (16 bytes)".into(), digest: None });
        assert_eq!(Known::of("x", &[b'a'; 64]).digest, None);
    }

    #[test]
    fn a_key_has_one_digest_however_its_lines_end() {
        let file = "-----BEGIN KEY-----\nabc\ndef\n-----END KEY-----";
        assert_eq!(digest(file.as_bytes()), digest(file.replace('\n', "\\r\\n").as_bytes()));
        assert_ne!(digest(file.as_bytes()), digest(file.replace("abc", "abd").as_bytes()));
        assert_eq!(end_of_block(format!("{file} behind").as_bytes(), 5), Some(file.len()));
        assert_eq!(end_of_block(b"-----BEGIN KEY-----\nabc", 5), None);
    }
}
