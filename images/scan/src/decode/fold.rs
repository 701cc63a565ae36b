//! Characters that look like ASCII, or like nothing: compatibility forms, homoglyphs, zero-width and bidirectional marks.

use unicode_normalization::UnicodeNormalization;

/// True when a character is invisible, or reorders others.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}' | '\u{300}'..='\u{36f}')
}

/// The ASCII letter that a Cyrillic, Greek, Armenian or other letter is drawn like.
fn lookalike(c: char) -> Option<char> {
    // Each letter, then what it looks like.
    const PAIRS: &str = "АAВBЕEКKМMНHОOРPСCТTУYХXЅSІIЈJԌGԚQԜWаaеeоoрpсcуyхxѕsіiјjһhԛqԝwԁdӏlьbгrпnтtкkмmвb\
        ΑAΒBΕEΖZΗHΙIΚKΜMΝNΟOΡPΤTΥYΧXϹCϳjαaνvοoρpυuχxτtιiκkηnωwγy\
        ՕOՍUոnսuցgհhօoɡgɑaɩiℓl‐-‑-‒-–-—-−-․.∕/⁄/ǃ!ᴀAһh";
    let mut chars = PAIRS.chars();
    while let (Some(from), Some(to)) = (chars.next(), chars.next()) {
        if from == c {
            return Some(to);
        }
    }
    None
}

/// True when `c` is something that [`decode`] changes and that nobody needs beside ASCII letters.
fn hides(c: char) -> bool {
    !c.is_ascii() && (is_invisible(c) || is_compatible(c) || lookalike(c).is_some())
}

/// Blocks whose characters are ASCII in another dress.
fn is_compatible(c: char) -> bool {
    matches!(c, '\u{ff01}'..='\u{ff5e}' | '\u{1d400}'..='\u{1d7ff}' | '\u{2460}'..='\u{24ff}' | '\u{1f100}'..='\u{1f1ff}'
        | '\u{2070}'..='\u{209c}' | '\u{1d2c}'..='\u{1d6a}' | '\u{2100}'..='\u{214f}')
}

/// The next byte from `from` on at which such a character begins beside an ASCII letter or digit, or beside another one.
pub(crate) fn next(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|b| *b >= 0xc2)?;
        if let Some((c, length)) = char_at(bytes, at)
            && hides(c)
        {
            let before = at.checked_sub(1).is_some_and(|b| bytes[b].is_ascii_alphanumeric() || bytes[b] >= 0x80);
            let after = bytes.get(at + length).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-') || *b >= 0x80);
            if before || after {
                return Some(at);
            }
            at += length;
        } else {
            at += 1;
        }
    }
}

fn char_at(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let length = match bytes[at] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let c = std::str::from_utf8(bytes.get(at..at + length)?).ok()?.chars().next()?;
    Some((c, length))
}

/// The text as ASCII, as far as it looks like it.
pub(crate) fn decode(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars().filter(|&c| !is_invisible(c)).nfkc() {
            let c = lookalike(c).unwrap_or(c);
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        out.extend_from_slice(chunk.invalid());
    }
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
        assert_eq!(lookalike('А'), Some('A'));
        assert_eq!(lookalike('т'), Some('t'));
        assert_eq!(lookalike('ω'), Some('w'));
        assert_eq!(lookalike('⁄'), Some('/'));
        assert_eq!(lookalike('ℓ'), Some('l'));
    }

    #[test]
    fn prose_in_another_script_has_no_marks() {
        assert_eq!(next("日本語のテキスト ".as_bytes(), 0), None);
        assert_eq!(next("naïve café — “quoted”".as_bytes(), 0), None);
    }
}
