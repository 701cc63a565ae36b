//! The forms in which a secret may leave: each a sequence of bytes that stands, whole, in what is sent.

/// How a form was made; the names are those of [`crate::Finding::encodings`].
pub(super) const KINDS: [&str; 9] = ["", "base64", "base32", "hex", "percent", "json", "reversed", "case", "rot13"];

/// A form: the index of its kind in [`KINDS`], and its bytes.
pub(super) type Form = (u8, Vec<u8>);

use crate::decode::base32;
use crate::decode::base64::{STANDARD, URL, fixed};

/// All forms of `secret`, without repetition, plain first.
pub(super) fn of(secret: &[u8]) -> Vec<Form> {
    let mut forms: Vec<Form> = vec![(0, secret.to_vec())];
    let mut add = |kind: u8, bytes: Vec<u8>| {
        if bytes.len() >= super::hash::WINDOW && forms.iter().all(|(_, other)| *other != bytes) {
            forms.push((kind, bytes));
        }
    };
    for alphabet in [STANDARD, URL] {
        for before in 0..3 {
            add(1, fixed(secret, before, 6, alphabet));
        }
    }
    for before in 0..5 {
        let upper = fixed(secret, before, 5, base32::ALPHABET);
        add(2, upper.to_ascii_lowercase());
        add(2, upper);
    }
    let lower = hex(secret, b"0123456789abcdef");
    add(3, lower.to_ascii_uppercase());
    add(3, lower);
    add(4, percent(secret, |b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)));
    add(4, percent(secret, |b| b.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&b)));
    add(5, json(secret, false));
    add(5, json(secret, true));
    add(6, secret.iter().rev().copied().collect());
    // Host names and header names travel in one case.
    add(7, secret.to_ascii_lowercase());
    add(7, secret.to_ascii_uppercase());
    add(8, secret.iter().map(|&b| rot13(b)).collect());
    forms
}

fn hex(secret: &[u8], alphabet: &[u8; 16]) -> Vec<u8> {
    secret.iter().flat_map(|b| [alphabet[usize::from(b >> 4)], alphabet[usize::from(b & 15)]]).collect()
}

fn percent(secret: &[u8], plain: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in secret {
        if plain(byte) {
            out.push(byte);
        } else {
            out.push(b'%');
            out.extend(hex(&[byte], b"0123456789ABCDEF"));
        }
    }
    out
}

fn json(secret: &[u8], slashes: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in secret {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'/' if slashes => out.extend(b"\\/"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0..0x20 => {
                out.extend(b"\\u00");
                out.extend(hex(&[byte], b"0123456789abcdef"));
            }
            _ => out.push(byte),
        }
    }
    out
}

pub(super) fn rot13(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => (byte - b'a' + 13) % 26 + b'a',
        b'A'..=b'Z' => (byte - b'A' + 13) % 26 + b'A',
        _ => byte,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_letters_has_no_repeated_forms() {
        let forms = of(b"abcdefgh");
        for (i, (_, form)) in forms.iter().enumerate() {
            assert!(forms[i + 1..].iter().all(|(_, other)| other != form));
        }
        // Plain, base64, base32, hex (letters a to h are digits only), reversed, upper case, rot13.
        assert_eq!(forms.len(), 1 + 3 + 10 + 1 + 1 + 1 + 1);
    }
}
