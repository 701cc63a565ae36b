//! Checks by structure: what a real token of its kind satisfies, and a look-alike does not.

use sha2::{Digest, Sha256};

use super::private_key;

/// A check that a rule file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Payment cards: the Luhn checksum (ISO/IEC 7812-1) and a network's first digits.
    Luhn,
    /// IBAN: remainder 1 modulo 97 (ISO 7064).
    Mod97,
    /// Bitcoin's wallet import format.
    Wif,
    /// Base58 with four checksum bytes.
    Base58,
    /// The first part is a JSON object that names an algorithm (RFC 7515).
    Jwt,
    /// GitHub and npm: the last six characters are the CRC-32 of the thirty before them, in base 62.
    Base62Crc,
    /// Bech32 (BIP 173), as age writes its identities.
    Bech32,
    /// `user:password` in base64 (RFC 7617).
    Basic,
    /// Upper case, lower case and digits, as a generator makes them and a sentence does not.
    Mixed,
    /// The first base64 digits of a private key (see [`private_key`]).
    EncodedKey,
    /// The lines behind the BEGIN line of a private key, with anything around them.
    KeyBody,
}

impl Check {
    /// The check of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "luhn" => Self::Luhn,
            "mod97" => Self::Mod97,
            "wif" => Self::Wif,
            "base58check" => Self::Base58,
            "jwt" => Self::Jwt,
            "github_crc" | "npm_crc" => Self::Base62Crc,
            "bech32" => Self::Bech32,
            "basic" => Self::Basic,
            "mixed" => Self::Mixed,
            "encoded_key" => Self::EncodedKey,
            "key_body" => Self::KeyBody,
            _ => return None,
        })
    }

    /// True when `value`, with `behind` following it, satisfies it.
    pub(crate) fn holds(self, value: &[u8], behind: &[u8]) -> bool {
        match self {
            Self::Luhn => luhn(value),
            Self::Mod97 => mod97(value),
            Self::Wif => base58check(value).is_some_and(|payload| {
                matches!(payload.first(), Some(0x80 | 0xef)) && (payload.len() == 33 || payload.len() == 34 && payload[33] == 1)
            }),
            Self::Base58 => base58check(value).is_some(),
            Self::Jwt => jwt(value),
            Self::Base62Crc => base62_crc(value),
            Self::Bech32 => bech32(value),
            Self::Basic => basic(value),
            Self::Mixed => {
                value.iter().any(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_uppercase) && value.iter().any(u8::is_ascii_lowercase)
            }
            Self::EncodedKey => private_key::is_encoded_key(value),
            Self::KeyBody => private_key::is_key_body(behind),
        }
    }
}

fn luhn(value: &[u8]) -> bool {
    let digits: Vec<u32> = value.iter().filter(|b| b.is_ascii_digit()).map(|b| u32::from(b - b'0')).collect();
    let network = match digits.as_slice() {
        [4, ..] => matches!(digits.len(), 13 | 16 | 19),
        [5, 1..=5, ..] | [2, 2..=7, ..] => digits.len() == 16,
        [3, 4 | 7, ..] => digits.len() == 15,
        [3, 5, ..] | [6, 0 | 2 | 4 | 5, ..] => matches!(digits.len(), 16..=19),
        [3, 0 | 6 | 8 | 9, ..] => matches!(digits.len(), 14..=19),
        _ => false,
    };
    let sum: u32 = digits.iter().rev().enumerate().map(|(i, &d)| if i % 2 == 1 { d * 2 / 10 + d * 2 % 10 } else { d }).sum();
    network && sum.is_multiple_of(10)
}

fn mod97(value: &[u8]) -> bool {
    let text: Vec<u8> = value.iter().filter(|b| b.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase).collect();
    if !(15..=34).contains(&text.len()) {
        return false;
    }
    let remainder = text[4..].iter().chain(&text[..4]).fold(0u32, |r, &b| match b {
        b'0'..=b'9' => (r * 10 + u32::from(b - b'0')) % 97,
        _ => (r * 100 + u32::from(b - b'A') + 10) % 97,
    });
    remainder == 1
}

/// The payload of base58 with a checksum.
fn base58check(value: &[u8]) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut number: Vec<u8> = Vec::new();
    for byte in value {
        let mut carry = ALPHABET.iter().position(|a| a == byte)? as u32;
        for digit in number.iter_mut().rev() {
            carry += u32::from(*digit) * 58;
            *digit = carry as u8;
            carry >>= 8;
        }
        if carry > 0 {
            number.insert(0, carry as u8);
        }
    }
    let zeros = value.iter().take_while(|&&b| b == b'1').count();
    let mut bytes = vec![0; zeros];
    bytes.extend(number);
    let split = bytes.len().checked_sub(4)?;
    let checksum = Sha256::digest(Sha256::digest(&bytes[..split]));
    if checksum[..4] != bytes[split..] {
        return None;
    }
    bytes.truncate(split);
    Some(bytes)
}

fn jwt(value: &[u8]) -> bool {
    let Some(header) = value.split(|&b| b == b'.').next() else { return false };
    let Some(json) = crate::decode::base64::strict(header) else { return false };
    serde_json::from_slice::<serde_json::Value>(&json).is_ok_and(|v| v.get("alg").is_some_and(|alg| alg.is_string()))
}

fn base62_crc(value: &[u8]) -> bool {
    let Some(split) = value.len().checked_sub(6) else { return false };
    let Some(body) = value.iter().position(|&b| b == b'_').and_then(|at| value.get(at + 1..split)) else { return false };
    let number = value[split..].iter().try_fold(0u64, |n, &b| {
        let digit = match b {
            b'0'..=b'9' => b - b'0',
            b'A'..=b'Z' => b - b'A' + 10,
            b'a'..=b'z' => b - b'a' + 36,
            _ => return None,
        };
        Some(n * 62 + u64::from(digit))
    });
    number == Some(u64::from(crc32fast::hash(body)))
}

fn bech32(value: &[u8]) -> bool {
    const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let lower = value.to_ascii_lowercase();
    let Some(split) = lower.iter().rposition(|&b| b == b'1') else { return false };
    let data = lower[split + 1..].iter().map(|b| ALPHABET.iter().position(|a| a == b).map(|v| v as u32));
    let prefix = &lower[..split];
    let expanded = prefix.iter().map(|b| Some(u32::from(b >> 5))).chain([Some(0)]).chain(prefix.iter().map(|b| Some(u32::from(b & 31))));
    let sum = expanded.chain(data).try_fold(1u32, |sum, value| {
        let top = sum >> 25;
        let next = (sum & 0x01ff_ffff) << 5 ^ value?;
        Some(GENERATOR.iter().enumerate().filter(|(i, _)| top >> i & 1 == 1).fold(next, |next, (_, g)| next ^ g))
    });
    sum == Some(1)
}

fn basic(value: &[u8]) -> bool {
    let Some(text) = crate::decode::base64::strict(value) else { return false };
    let Some(colon) = text.iter().position(|&b| b == b':') else { return false };
    colon >= 1 && text.len() - colon > 8 && text.iter().all(|b| (0x21..0x7f).contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luhn_takes_published_test_numbers_and_no_neighbour() {
        assert!(luhn(b"4242 4242 4242 4242") && luhn(b"378282246310005") && luhn(b"6011-1111-1111-1117"));
        assert!(!luhn(b"4242424242424241") && !luhn(b"9999999999999995") && !luhn(b""));
    }

    #[test]
    fn mod97_takes_published_samples_and_no_neighbour() {
        assert!(mod97(b"GB82 WEST 1234 5698 7654 32") && mod97(b"de89370400440532013000"));
        assert!(!mod97(b"GB82WEST12345698765433"));
    }

    #[test]
    fn base58check_takes_the_published_sample_key() {
        // The sample of the wallet import format's own description.
        assert!(Check::Wif.holds(b"5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ", b""));
        assert!(!Check::Wif.holds(b"5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTK", b""));
    }

    #[test]
    fn a_json_web_token_needs_a_header_that_names_an_algorithm() {
        assert!(jwt(b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.x"));
        assert!(!jwt(b"eyJ0eXAiOiJKV1QifQ.e30.x") && !jwt(b"eyJub3QganNvbg.e30.x"));
    }

    #[test]
    fn a_base62_checksum_is_that_of_the_thirty_characters() {
        // Thirty times `A` and its checksum: published test data of the format, no token.
        let body = "A".repeat(30);
        assert!(base62_crc(format!("ghp_{body}0uCPlr").as_bytes()));
        assert!(!base62_crc(format!("ghp_{body}0uCPls").as_bytes()));
    }

    #[test]
    fn bech32_takes_a_published_vector() {
        // BIP 173's first valid strings.
        assert!(bech32(b"A12UEL5L") && bech32(b"abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw"));
        assert!(!bech32(b"abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxq"));
    }
}
