//! Encodings that replace single characters by a mark and digits: percent, JSON and C, HTML, quoted-printable.

use super::{nibble, octet, push_char};
use crate::prefilter;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escape {
    /// `%67` (RFC 3986, section 2.1).
    Percent,
    /// `\u0067`, `\u{67}`, `\x67`, `\147`, `\/` and the like (RFC 8259, section 7; C; JavaScript).
    Backslash,
    /// `&#103;`, `&#x67;`, `&amp;`.
    Html,
    /// `=67`, and `=` at the end of a line (RFC 2045, section 6.7).
    QuotedPrintable,
}

impl Escape {
    pub(crate) const ALL: [Self; 4] = [Self::Percent, Self::Backslash, Self::Html, Self::QuotedPrintable];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Percent => "percent",
            Self::Backslash => "json",
            Self::Html => "html",
            Self::QuotedPrintable => "quoted-printable",
        }
    }

    /// The byte that begins each of its marks.
    pub(crate) fn sign(self) -> u8 {
        match self {
            Self::Percent => b'%',
            Self::Backslash => b'\\',
            Self::Html => b'&',
            Self::QuotedPrintable => b'=',
        }
    }

    /// True when what stands at `at`, its sign, is a mark that hides something.
    pub(crate) fn marks(self, bytes: &[u8], at: usize) -> bool {
        let Some(&next) = bytes.get(at + 1) else { return false };
        match self {
            Self::Percent => octet(bytes, at + 1).is_some(),
            // Quotes and line ends hide nothing: expressions and runs see through them.
            Self::Backslash => {
                matches!(next, b'/' | b'0'..=b'7')
                    || matches!(next, b'u' | b'x' | b'U') && bytes.get(at + 2).is_some_and(|b| b.is_ascii_hexdigit() || *b == b'{')
            }
            Self::Html => {
                next == b'#' && bytes.get(at + 2).is_some_and(|b| b.is_ascii_digit() || matches!(b, b'x' | b'X'))
                    || named(&bytes[at + 1..]).is_some()
            }
            Self::QuotedPrintable => upper_octet(bytes, at + 1).is_some() || matches!(next, b'\r' | b'\n'),
        }
    }

    /// The first mark from `from` on.
    pub(crate) fn next(self, bytes: &[u8], from: usize) -> Option<usize> {
        prefilter::mark(bytes, from, self.sign(), |at| self.marks(bytes, at))
    }

    /// True when its marks are numbers of characters, not of bytes.
    pub(crate) fn writes_characters(self) -> bool {
        matches!(self, Self::Backslash | Self::Html)
    }

    /// Turns the characters U+0080 to U+00FF of a decoded layer into bytes, for that is how binary data is written in
    /// escapes of characters. False when there is none.
    pub(crate) fn narrow(text: &mut Vec<u8>) -> bool {
        let before = text.len();
        let mut to = 0;
        let mut at = 0;
        while at < text.len() {
            let wide = matches!(text[at], 0xc2 | 0xc3) && text.get(at + 1).is_some_and(|b| b & 0xc0 == 0x80);
            text[to] = if wide { text[at] << 6 | text[at + 1] & 0x3f } else { text[at] };
            at += 1 + usize::from(wide);
            to += 1;
        }
        text.truncate(to);
        text.len() < before
    }

    /// Undoes one layer.
    pub(crate) fn decode(self, text: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        while let Some(found) = memchr::memchr(self.sign(), &text[at..]) {
            out.extend_from_slice(&text[at..at + found]);
            at += found;
            let used = match self {
                Self::Percent => octet(text, at + 1).map(|byte| {
                    out.push(byte);
                    3
                }),
                Self::Backslash => backslash(text, at, out),
                Self::Html => html(text, at, out),
                Self::QuotedPrintable => quoted_printable(text, at, out),
            };
            if used.is_none() {
                out.push(self.sign());
            }
            at += used.unwrap_or(1);
        }
        out.extend_from_slice(&text[at..]);
    }
}

/// Each returns how many bytes it consumed, or nothing where no mark stands.
fn backslash(text: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    match *text.get(at + 1)? {
        b'u' if text.get(at + 2) == Some(&b'{') => {
            let digits = text[at + 3..].iter().take(8).take_while(|b| b.is_ascii_hexdigit()).count();
            (text.get(at + 3 + digits) == Some(&b'}') && digits > 0).then_some(())?;
            push_char(out, number(&text[at + 3..at + 3 + digits], 16));
            Some(4 + digits)
        }
        b'u' => {
            let unit = |at: usize| Some(u32::from(octet(text, at)?) << 8 | u32::from(octet(text, at + 2)?));
            let high = unit(at + 2)?;
            let low = (text.get(at + 6..at + 8) == Some(b"\\u")).then(|| unit(at + 8)).flatten();
            match (high, low) {
                (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) => {
                    push_char(out, 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00));
                    Some(12)
                }
                _ => {
                    push_char(out, high);
                    Some(6)
                }
            }
        }
        b'U' => {
            let digits = text.get(at + 2..at + 10).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
            push_char(out, number(digits, 16));
            Some(10)
        }
        b'x' => {
            out.push(octet(text, at + 2)?);
            Some(4)
        }
        b'0'..=b'7' => {
            let digits = text[at + 1..].iter().take(3).take_while(|b| matches!(b, b'0'..=b'7')).count();
            out.push(number(&text[at + 1..at + 1 + digits], 8) as u8);
            Some(1 + digits)
        }
        b'n' => single(b'\n', out),
        b'r' => single(b'\r', out),
        b't' => single(b'\t', out),
        b'b' | b'f' | b'v' | b'a' => single(b' ', out),
        b'\n' => Some(2),
        other => single(other, out),
    }
}

fn single(byte: u8, out: &mut Vec<u8>) -> Option<usize> {
    out.push(byte);
    Some(2)
}

fn html(text: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    if text.get(at + 1) != Some(&b'#') {
        let (name, byte) = named(&text[at + 1..])?;
        out.push(byte);
        return Some(1 + name.len());
    }
    let hex = matches!(text.get(at + 2), Some(b'x' | b'X'));
    let start = at + 2 + usize::from(hex);
    let digits = text.get(start..)?.iter().take(8).take_while(|b| if hex { b.is_ascii_hexdigit() } else { b.is_ascii_digit() }).count();
    (digits > 0).then_some(())?;
    push_char(out, number(&text[start..start + digits], if hex { 16 } else { 10 }));
    Some(start + digits - at + usize::from(text.get(start + digits) == Some(&b';')))
}

/// The named characters (HTML, section 13.5) of which tokens and their surroundings are made.
const NAMES: [(&[u8], u8); 20] = [
    (b"amp;", b'&'),
    (b"lt;", b'<'),
    (b"gt;", b'>'),
    (b"quot;", b'"'),
    (b"apos;", b'\''),
    (b"lowbar;", b'_'),
    (b"UnderBar;", b'_'),
    (b"hyphen;", b'-'),
    (b"dash;", b'-'),
    (b"period;", b'.'),
    (b"sol;", b'/'),
    (b"plus;", b'+'),
    (b"equals;", b'='),
    (b"colon;", b':'),
    (b"commat;", b'@'),
    (b"dollar;", b'$'),
    (b"Tab;", b'\t'),
    (b"NewLine;", b'\n'),
    (b"num;", b'#'),
    (b"tilde;", b'~'),
];

fn named(text: &[u8]) -> Option<(&'static [u8], u8)> {
    NAMES.into_iter().find(|(name, _)| text.starts_with(name))
}

fn quoted_printable(text: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    match (text.get(at + 1), text.get(at + 2)) {
        (Some(b'\r'), Some(b'\n')) => Some(3),
        (Some(b'\n'), _) => Some(2),
        _ => {
            out.push(upper_octet(text, at + 1)?);
            Some(3)
        }
    }
}

/// Quoted-printable is written in upper case; `q=da` is no octet.
fn upper_octet(text: &[u8], at: usize) -> Option<u8> {
    octet(text, at).filter(|_| !text[at].is_ascii_lowercase() && !text[at + 1].is_ascii_lowercase())
}

fn number(digits: &[u8], radix: u32) -> u32 {
    digits.iter().filter_map(|&b| nibble(b)).fold(0, |value, digit| value.saturating_mul(radix).saturating_add(u32::from(digit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(escape: Escape, text: &str) -> String {
        let mut out = Vec::new();
        escape.decode(text.as_bytes(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn binary_data_in_escapes_of_characters_becomes_bytes() {
        let mut out = Vec::new();
        Escape::Backslash.decode(br"\u001f\u008b\u0008\u00ad\u00ff\u0141", &mut out);
        assert!(Escape::narrow(&mut out));
        assert_eq!(out, b"\x1f\x8b\x08\xad\xff\xc5\x81");
        assert!(!Escape::narrow(&mut b"ascii".to_vec()));
    }

    #[test]
    fn each_escape_gives_back_what_it_hid() {
        assert_eq!(decoded(Escape::Percent, "a%62c%2 %zz%"), "abc%2 %zz%");
        assert_eq!(decoded(Escape::Backslash, r"\u0067\x68\160\u{5f}\/\n\\\ud83d\ude00\U00000041\"), "ghp_/\n\\😀A\\");
        assert_eq!(decoded(Escape::Html, "&#103;&#x68;p&lowbar;&amp;&nope;&#;"), "ghp_&&nope;&#;");
        assert_eq!(decoded(Escape::QuotedPrintable, "g=68p=\r\n=5F=\nx=zz="), "ghp_x=zz=");
    }
}
