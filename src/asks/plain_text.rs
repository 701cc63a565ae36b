//! Text of an agent as a person may see it: no sequence that a terminal acts on, nothing hidden or reordered, and not too long.

use bottle_contract::supervise::MAX_REASON_CHARS;
use bottle_contract::untrusted::is_hostile;

/// The text without sequences and hostile characters, of at most [`MAX_REASON_CHARS`] characters. Line ends and tabs become spaces.
pub fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut length = 0;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => match rest.peek() {
                Some('[') => skip_control(&mut rest),
                Some(']' | 'P' | 'X' | '^' | '_') => skip_string(&mut rest),
                _ => {}
            },
            '\u{9b}' => skip_control(&mut rest),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => skip_string(&mut rest),
            _ => {
                let shown = if matches!(c, '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}') { ' ' } else { c };
                if is_hostile(shown) || (shown == ' ' && plain.ends_with(' ')) {
                    continue;
                }
                if length == MAX_REASON_CHARS {
                    plain.pop();
                    plain.push('…');
                    break;
                }
                plain.push(shown);
                length += 1;
            }
        }
    }
    plain.trim().to_owned()
}

/// The whole text on one line, with each hostile character as an escape: for text that must be shown to its end.
pub fn inert(text: &str) -> String {
    let one = |c: char| if is_hostile(c) { format!("\\u{{{:x}}}", u32::from(c)) } else { c.to_string() };
    text.chars().map(one).collect()
}

/// The rest of a control sequence, which ends with a byte from `@` to `~` (ECMA-48, section 5.4).
fn skip_control(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    if rest.peek() == Some(&'[') {
        rest.next();
    }
    for c in rest.by_ref() {
        if ('@'..='~').contains(&c) || c.is_control() {
            return;
        }
    }
}

/// The rest of a command or of a title, which ends with BEL or ST (ECMA-48, section 5.6).
fn skip_string(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(c) = rest.next() {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                if rest.peek() == Some(&'\\') {
                    rest.next();
                }
                return;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: M11
    #[test]
    fn sequences_are_removed_with_what_they_say() {
        for (text, shown) in [
            ("a\u{1b}[31mred\u{1b}[0m b", "ared b"),
            ("x\u{1b}]0;approved\u{7}y\u{1b}]52;c;Zm9v\u{1b}\\z", "xyz"),
            ("x\u{9d}2;t\u{9c}y\u{9b}2Jz", "xyz"),
            ("line\r\n\tnext\u{2028}last", "line next last"),
            ("a\u{202e}txt.exe\u{200b}\u{feff}b", "atxt.exeb"),
            ("  y  ", "y"),
            ("grün → 日本", "grün → 日本"),
            ("never closed \u{1b}]0;all of this is hidden", "never closed"),
        ] {
            assert_eq!(plain(text), shown, "{text:?}");
        }
        assert_eq!(plain(&"é".repeat(600)), format!("{}…", "é".repeat(MAX_REASON_CHARS - 1)));
    }

    // covers: M11
    #[test]
    fn ten_thousand_texts_show_no_control_character() {
        // Xorshift (Marsaglia, 2003): the same texts in each run.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut drawn = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let hostile: Vec<char> = ('\u{0}'..='\u{10ffff}').filter(|c| is_hostile(*c)).collect();
        let parts =
            ["\u{1b}]0;", "\u{1b}[31m", "\u{1b}P", "\u{1b}\\", "\u{7}", "\u{9b}2J", "\u{9d}52;c;", "\u{9c}", "text ", "\r\n", "é日"];
        for _ in 0..10_000 {
            let mut text = String::new();
            for _ in 0..drawn(40) {
                match drawn(3) {
                    0 => text.push(hostile[drawn(hostile.len() as u64) as usize]),
                    1 => text.push_str(parts[drawn(parts.len() as u64) as usize]),
                    _ => text.push(char::from(b' ' + drawn(95) as u8)),
                }
            }
            let shown = plain(&text);
            assert!(!shown.chars().any(is_hostile) && !inert(&text).chars().any(is_hostile), "{text:?}: {shown:?}");
            assert!(shown.chars().count() <= MAX_REASON_CHARS);
        }
    }
}
