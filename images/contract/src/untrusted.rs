//! Escapes text of an agent, an origin or a repository for terminals and logs.

use std::fmt::{self, Write};

/// [`Untrusted`] prints at most this many characters, and then the number of omitted bytes.
pub const MAX_CHARS: usize = 256;

/// Hostile text. Its `Display` is one line of bounded width without control, bidirectional, zero-width or
/// undecodable characters; each of these appears as `\u{…}` or `\x…`. There is no way to print it raw.
#[derive(Clone, Copy)]
pub struct Untrusted<'a>(&'a [u8]);

impl<'a> Untrusted<'a> {
    /// Wraps text or bytes of any origin.
    pub fn new(bytes: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self(bytes.as_ref())
    }
}

/// True for a character that a terminal would act on, hide or reorder.
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffc}' | '\u{e0000}'..='\u{e0fff}')
        || is_combining(c)
}

/// Combining marks pile up over neighbouring cells, so they are escaped.
fn is_combining(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = 0;
        let mut consumed = 0;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if printed == MAX_CHARS {
                    return write!(f, "… ({} more bytes)", self.0.len() - consumed);
                }
                if is_hostile(c) {
                    write!(f, "\\u{{{:x}}}", c as u32)?
                } else {
                    f.write_char(c)?
                }
                printed += 1;
                consumed += c.len_utf8();
            }
            for byte in chunk.invalid() {
                if printed == MAX_CHARS {
                    return write!(f, "… ({} more bytes)", self.0.len() - consumed);
                }
                write!(f, "\\x{byte:02x}")?;
                printed += 1;
                consumed += 1;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: T03
    #[test]
    fn what_a_terminal_would_act_on_is_shown_as_an_escape() {
        let shown = |text: &str| Untrusted::new(text).to_string();
        assert_eq!(shown("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(shown("\u{9b}31m\r\n\0\u{7f}\u{8}"), "\\u{9b}31m\\u{d}\\u{a}\\u{0}\\u{7f}\\u{8}");
        assert_eq!(shown("x\u{202e}txt.exe"), "x\\u{202e}txt.exe");
        assert_eq!(shown("e\u{301}\u{200d}"), "e\\u{301}\\u{200d}");
        assert_eq!(shown("grün → 日本"), "grün → 日本");
        assert_eq!(Untrusted::new(b"\xff\xc0\xaf").to_string(), "\\xff\\xc0\\xaf");
    }

    #[test]
    fn a_long_text_is_cut_and_says_how_much_is_missing() {
        let text = "é".repeat(MAX_CHARS + 3);
        assert_eq!(Untrusted::new(&text).to_string(), format!("{}… (6 more bytes)", "é".repeat(MAX_CHARS)));
    }
}
