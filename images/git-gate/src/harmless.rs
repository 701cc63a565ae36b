//! What upstream says to a person, made harmless: line by line, escaped, bounded, without the credential. Pure.

use std::sync::Arc;
use std::time::Duration;

use bottle_contract::untrusted::is_hostile;
use bottle_wire::secret::Redactor;

/// Characters of a line that are shown.
const MAX_LINE_CHARS: usize = 512;
/// Progress is shown so often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Turns a stream of words into lines that a terminal does nothing with. A line that a carriage return would have
/// overwritten is shown once a second; all others are shown.
pub struct Harmless {
    hidden: Arc<Redactor>,
    line: Vec<u8>,
    last: Option<Duration>,
}

impl Harmless {
    /// For an upstream that got these credentials.
    pub fn new(hidden: Arc<Redactor>) -> Self {
        Self { hidden, line: Vec::new(), last: None }
    }

    /// The lines that are complete with these bytes, each with its newline. `now` is any clock that goes on.
    pub fn push(&mut self, bytes: &[u8], now: Duration) -> String {
        let mut out = String::new();
        for &byte in bytes {
            match byte {
                b'\n' => self.end(&mut out),
                b'\r' => {
                    if self.last.is_none_or(|last| now.saturating_sub(last) >= PROGRESS_INTERVAL) && !self.line.is_empty() {
                        self.last = Some(now);
                        self.end(&mut out);
                    }
                    self.line.clear();
                }
                // Four bytes make the longest character.
                _ if self.line.len() < 4 * MAX_LINE_CHARS + 4 => self.line.push(byte),
                _ => {}
            }
        }
        out
    }

    /// What was said last, without an end.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        if !self.line.is_empty() {
            self.end(&mut out);
        }
        out
    }

    fn end(&mut self, out: &mut String) {
        let line = std::mem::take(&mut self.line);
        out.push_str(&one_line(&line, &self.hidden));
        out.push('\n');
    }
}

/// One line of hostile text, with each secret in it blotted out.
pub fn one_line(text: &[u8], hidden: &Redactor) -> String {
    let mut text = text.to_vec();
    hidden.blank(&mut text);
    let mut out = String::new();
    let mut shown = 0;
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            shown += 1;
            match c {
                _ if shown > MAX_LINE_CHARS => {}
                '\t' => out.push(' '),
                c if is_hostile(c) => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            shown += 1;
            if shown <= MAX_LINE_CHARS {
                out.push_str(&format!("\\x{byte:02x}"));
            }
        }
    }
    if shown > MAX_LINE_CHARS {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: G10 T03
    #[test]
    fn nothing_that_a_terminal_acts_on_is_left() {
        let mut harmless = Harmless::new(Arc::default());
        let said = harmless.push(b"\x1b]52;c;ZXZpbA==\x07\x1b[2J\xc2\x9b31mred\x08\x00\xe2\x80\xae\x7f\xff\tok\nnext", Duration::ZERO);
        assert_eq!(said, "\\u{1b}]52;c;ZXZpbA==\\u{7}\\u{1b}[2J\\u{9b}31mred\\u{8}\\u{0}\\u{202e}\\u{7f}\\xff ok\n");
        assert_eq!(harmless.finish(), "next\n");
        assert_eq!(harmless.finish(), "");
    }

    #[test]
    fn progress_is_shown_once_a_second_and_its_end_always() {
        let mut harmless = Harmless::new(Arc::default());
        let at = Duration::from_millis;
        assert_eq!(harmless.push(b"Counting: 1%\rCounting: 2%\r", at(0)), "Counting: 1%\n");
        assert_eq!(harmless.push(b"Counting: 60%\r", at(999)), "");
        assert_eq!(harmless.push(b"Counting: 70%\r", at(1000)), "Counting: 70%\n");
        assert_eq!(harmless.push(b"Counting: 100%, done.\n", at(1001)), "Counting: 100%, done.\n");
    }

    #[test]
    fn the_credential_is_blotted_out_however_it_arrives() {
        let mut harmless = Harmless::new(Arc::new(Redactor::new([b"s3cr3t-token".to_vec(), b"*".to_vec()]).unwrap()));
        let mut said = harmless.push(b"you are s3cr3t", Duration::ZERO);
        said += &harmless.push(b"-token, twice s3cr3t-token\n", Duration::ZERO);
        assert_eq!(said, "you are ************, twice ************\n");
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut harmless = Harmless::new(Arc::default());
        for _ in 0..1000 {
            assert_eq!(harmless.push(&[b'a'; 10_000], Duration::ZERO), "");
        }
        assert!(harmless.line.len() < 4096);
        assert_eq!(harmless.finish().chars().count(), MAX_LINE_CHARS + 2);
    }
}
