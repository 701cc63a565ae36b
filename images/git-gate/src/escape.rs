//! Escapes upstream's messages for a terminal: line by line, bounded, without the credential. Pure.

use std::sync::Arc;
use std::time::Duration;

use bottle_contract::untrusted::is_hostile;
use bottle_wire::secret::Redactor;

/// The rest of a longer line is cut off.
const MAX_LINE_CHARS: usize = 512;
/// Between two lines that overwrite each other.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Turns a stream of messages into escaped lines. Of lines that a carriage return would overwrite, it shows one per
/// [`PROGRESS_INTERVAL`]; it shows all others.
pub struct LineEscaper {
    redactor: Arc<Redactor>,
    line: Vec<u8>,
    last: Option<Duration>,
}

impl LineEscaper {
    /// Removes what `redactor` knows.
    pub fn new(redactor: Arc<Redactor>) -> Self {
        Self { redactor, line: Vec::new(), last: None }
    }

    /// The lines that these bytes complete, each with its newline. `now` is the time of any monotonic clock.
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

    /// The last line, if it has no end.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        if !self.line.is_empty() {
            self.end(&mut out);
        }
        out
    }

    fn end(&mut self, out: &mut String) {
        let line = std::mem::take(&mut self.line);
        out.push_str(&escape_for_terminal(&line, &self.redactor));
        out.push('\n');
    }
}

/// Untrusted text as one line: redacted, escaped and cut off at [`MAX_LINE_CHARS`].
pub fn escape_for_terminal(text: &[u8], redactor: &Redactor) -> String {
    let mut text = text.to_vec();
    redactor.blank(&mut text);
    let mut out = String::new();
    let mut count = 0;
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            count += 1;
            match c {
                _ if count > MAX_LINE_CHARS => {}
                '\t' => out.push(' '),
                c if is_hostile(c) => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            count += 1;
            if count <= MAX_LINE_CHARS {
                out.push_str(&format!("\\x{byte:02x}"));
            }
        }
    }
    if count > MAX_LINE_CHARS {
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
        let mut escaper = LineEscaper::new(Arc::default());
        let text = escaper.push(b"\x1b]52;c;ZXZpbA==\x07\x1b[2J\xc2\x9b31mred\x08\x00\xe2\x80\xae\x7f\xff\tok\nnext", Duration::ZERO);
        assert_eq!(text, "\\u{1b}]52;c;ZXZpbA==\\u{7}\\u{1b}[2J\\u{9b}31mred\\u{8}\\u{0}\\u{202e}\\u{7f}\\xff ok\n");
        assert_eq!(escaper.finish(), "next\n");
        assert_eq!(escaper.finish(), "");
    }

    #[test]
    fn progress_passes_once_a_second_and_its_last_line_always() {
        let mut escaper = LineEscaper::new(Arc::default());
        let at = Duration::from_millis;
        assert_eq!(escaper.push(b"Counting: 1%\rCounting: 2%\r", at(0)), "Counting: 1%\n");
        assert_eq!(escaper.push(b"Counting: 60%\r", at(999)), "");
        assert_eq!(escaper.push(b"Counting: 70%\r", at(1000)), "Counting: 70%\n");
        assert_eq!(escaper.push(b"Counting: 100%, done.\n", at(1001)), "Counting: 100%, done.\n");
    }

    #[test]
    fn the_credential_is_blotted_out_however_it_arrives() {
        let mut escaper = LineEscaper::new(Arc::new(Redactor::new([b"s3cr3t-token".to_vec(), b"*".to_vec()]).unwrap()));
        let mut text = escaper.push(b"you are s3cr3t", Duration::ZERO);
        text += &escaper.push(b"-token, twice s3cr3t-token\n", Duration::ZERO);
        assert_eq!(text, "you are ************, twice ************\n");
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut escaper = LineEscaper::new(Arc::default());
        for _ in 0..1000 {
            assert_eq!(escaper.push(&[b'a'; 10_000], Duration::ZERO), "");
        }
        assert!(escaper.line.len() < 4096);
        assert_eq!(escaper.finish().chars().count(), MAX_LINE_CHARS + 2);
    }
}
