//! Characters that look like ASCII, or like nothing: compatibility forms, homoglyphs, zero-width and bidirectional marks.

use unicode_normalization::UnicodeNormalization;

use crate::prefilter;

/// True when a character is invisible, or reorders others.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}' | '\u{300}'..='\u{36f}')
}

/// The ASCII character that a Cyrillic, Greek, Armenian or other one is drawn like.
fn lookalike(c: char) -> Option<u8> {
    Some(match c {
        'А' | 'Α' | 'ᴀ' => b'A',
        'В' | 'Β' | 'в' => b'B',
        'С' | 'Ϲ' => b'C',
        'Е' | 'Ε' => b'E',
        'Ԍ' => b'G',
        'Н' | 'Η' => b'H',
        'І' | 'Ӏ' | 'Ι' => b'I',
        'Ј' => b'J',
        'К' | 'Κ' => b'K',
        'М' | 'Μ' => b'M',
        'Ν' => b'N',
        'О' | 'Ο' | 'Օ' => b'O',
        'Р' | 'Ρ' => b'P',
        'Ԛ' => b'Q',
        'Ѕ' => b'S',
        'Т' | 'Τ' => b'T',
        'Ս' => b'U',
        'Ԝ' => b'W',
        'Х' | 'Χ' => b'X',
        'Ү' | 'Υ' => b'Y',
        'Ζ' => b'Z',
        'а' | 'α' | 'ɑ' => b'a',
        'Ь' => b'b',
        'с' | 'ϲ' => b'c',
        'ԁ' => b'd',
        'е' => b'e',
        'ց' | 'ɡ' => b'g',
        'һ' | 'հ' => b'h',
        'і' | 'ι' | 'ɩ' => b'i',
        'ј' | 'ϳ' => b'j',
        'к' | 'κ' => b'k',
        'ӏ' | 'ℓ' => b'l',
        'м' => b'm',
        'п' | 'η' | 'ո' => b'n',
        'о' | 'ο' | 'օ' => b'o',
        'р' | 'ρ' => b'p',
        'ԛ' => b'q',
        'г' => b'r',
        'ѕ' => b's',
        'т' | 'τ' => b't',
        'υ' | 'ս' => b'u',
        'ν' => b'v',
        'ԝ' | 'ω' => b'w',
        'х' | 'χ' => b'x',
        'у' | 'γ' => b'y',
        '‐' | '‑' | '‒' | '–' | '—' | '−' => b'-',
        '․' => b'.',
        '∕' | '⁄' => b'/',
        'ǃ' => b'!',
        _ => return None,
    })
}

/// Blocks whose characters are ASCII in another dress.
fn is_compatible(c: char) -> bool {
    matches!(c, '\u{ff01}'..='\u{ff5e}' | '\u{1d400}'..='\u{1d7ff}' | '\u{2460}'..='\u{24ff}' | '\u{1f100}'..='\u{1f1ff}'
        | '\u{2070}'..='\u{209c}' | '\u{1d2c}'..='\u{1d6a}' | '\u{2100}'..='\u{214f}')
}

/// First bytes of the characters that fold to ASCII or to nothing.
const LEADS: [bool; 256] = {
    let mut leads = [false; 256];
    let list = b"\xc2\xc9\xcc\xcd\xce\xcf\xd0\xd1\xd2\xd3\xd4\xd5\xd6\xd8\xe1\xe2\xef\xf0\xf3";
    let mut i = 0;
    while i < list.len() {
        leads[list[i] as usize] = true;
        i += 1;
    }
    leads
};

/// The next byte from `from` on at which a character begins that looks like ASCII or like nothing, beside an ASCII letter or digit; a
/// character of a compatibility block also beside another one.
pub(crate) fn next(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii() {
            at = prefilter::non_ascii(bytes, at)?;
            continue;
        }
        if !LEADS[usize::from(byte)] {
            at += 1;
            continue;
        }
        let Some((c, length)) = char_at(bytes, at) else {
            at += 1;
            continue;
        };
        let before = at.checked_sub(1).map(|b| bytes[b]);
        let after = bytes.get(at + length).copied();
        let ascii = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        let beside = before.is_some_and(ascii) || after.is_some_and(ascii);
        let high = before.is_some_and(|b| b >= 0x80) || after.is_some_and(|b| b >= 0x80);
        if (beside && (is_invisible(c) || lookalike(c).is_some()) || (beside || high) && is_compatible(c)) && is_text(bytes, at) {
            return Some(at);
        }
        at += length;
    }
    None
}

/// The character of more than one byte that begins at `at`, and its length.
fn char_at(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let low = |i: usize| bytes.get(at + i).filter(|b| **b & 0xc0 == 0x80).map(|b| u32::from(b & 0x3f));
    let first = u32::from(bytes[at]);
    let (code, length) = match first {
        0xc2..=0xdf => ((first & 0x1f) << 6 | low(1)?, 2),
        0xe0..=0xef => ((first & 0xf) << 12 | low(1)? << 6 | low(2)?, 3),
        0xf0..=0xf4 => ((first & 7) << 18 | low(1)? << 12 | low(2)? << 6 | low(3)?, 4),
        _ => return None,
    };
    Some((char::from_u32(code)?, length))
}

/// The text as ASCII, as far as it looks like it.
pub(crate) fn decode(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                c if c.is_ascii() => out.push(c as u8),
                '\u{ff01}'..='\u{ff5e}' => out.push((c as u32 - 0xfee0) as u8),
                // Thirteen alphabets of twice twenty-six letters, and five sets of digits.
                '\u{1d400}'..='\u{1d6a3}' => out.push(LETTERS[(c as usize - 0x1d400) % 52]),
                '\u{1d7ce}'..='\u{1d7ff}' => out.push(b'0' + ((c as u32 - 0x1d7ce) % 10) as u8),
                c if is_invisible(c) => {}
                c => match lookalike(c) {
                    Some(byte) => out.push(byte),
                    None if is_compatible(c) => {
                        std::iter::once(c).nfkc().for_each(|c| out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()));
                    }
                    None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                },
            }
        }
        out.extend_from_slice(chunk.invalid());
    }
}

const LETTERS: &[u8; 52] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// True when the bytes around a place are UTF-8, but for a few.
fn is_text(bytes: &[u8], at: usize) -> bool {
    let around = &bytes[at.saturating_sub(24)..bytes.len().min(at + 24)];
    around.utf8_chunks().map(|chunk| chunk.invalid().len()).sum::<usize>() <= 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_ascii_becomes_ascii() {
        let mut out = Vec::new();
        decode("g\u{200b}h\u{202e}р＿𝐀𝟡ⓑ\u{feff}".as_bytes(), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "ghp_A9b");
    }

    #[test]
    fn every_lookalike_has_its_letter() {
        assert_eq!(lookalike('А'), Some(b'A'));
        assert_eq!(lookalike('т'), Some(b't'));
        assert_eq!(lookalike('ω'), Some(b'w'));
        assert_eq!(lookalike('⁄'), Some(b'/'));
        assert_eq!(lookalike('ℓ'), Some(b'l'));
    }

    #[test]
    fn prose_in_another_script_has_no_marks() {
        assert_eq!(next("日本語のテキスト ".as_bytes(), 0), None);
        assert_eq!(next("naïve café — “quoted” привет".as_bytes(), 0), None);
    }
}
