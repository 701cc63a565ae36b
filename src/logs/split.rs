//! Splits a stream into lines, or into parts of lines that are too long for one record.

/// A longer line is split into several records.
pub(super) const MAX_LINE_BYTES: usize = 256 * 1024;

/// A line without its newline, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part<'b> {
    pub(super) bytes: &'b [u8],
    /// The number of the part, from 0.
    pub(super) part: u64,
    /// The line continues.
    pub(super) more: bool,
    /// The stream ended without a newline.
    pub(super) unterminated: bool,
}

/// Buffers an incomplete line, at most [`MAX_LINE_BYTES`] bytes.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    pending: Vec<u8>,
    part: u64,
}

impl Splitter {
    /// Takes the next chunk and emits the lines that it completes.
    pub(super) fn push(&mut self, mut bytes: &[u8], out: &mut dyn FnMut(Part<'_>)) {
        while !bytes.is_empty() {
            let room = MAX_LINE_BYTES - self.pending.len();
            let window = &bytes[..bytes.len().min(room)];
            match memchr::memchr(b'\n', window) {
                Some(end) => {
                    let line = if self.pending.is_empty() {
                        &window[..end]
                    } else {
                        self.pending.extend_from_slice(&window[..end]);
                        &self.pending
                    };
                    out(Part { bytes: line, part: self.part, more: false, unterminated: false });
                    self.pending.clear();
                    self.part = 0;
                    bytes = &bytes[end + 1..];
                }
                None => {
                    self.pending.extend_from_slice(window);
                    bytes = &bytes[window.len()..];
                    if self.pending.len() == MAX_LINE_BYTES {
                        let cut = boundary(&self.pending);
                        out(Part { bytes: &self.pending[..cut], part: self.part, more: true, unterminated: false });
                        self.pending.drain(..cut);
                        self.part += 1;
                    }
                }
            }
        }
    }

    /// The end of the stream.
    pub(super) fn finish(&mut self, out: &mut dyn FnMut(Part<'_>)) {
        if !self.pending.is_empty() || self.part > 0 {
            out(Part { bytes: &self.pending, part: self.part, more: false, unterminated: true });
        }
        self.pending.clear();
        self.part = 0;
    }
}

/// Where to split without breaking a character: the length, or up to three bytes less.
pub(super) fn boundary(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        // Incomplete, not invalid.
        Err(e) if e.error_len().is_none() && e.valid_up_to() > 0 => e.valid_up_to(),
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<(Vec<u8>, u64, bool, bool)> {
        let mut splitter = Splitter::default();
        let mut parts = Vec::new();
        let mut keep = |p: Part<'_>| parts.push((p.bytes.to_vec(), p.part, p.more, p.unterminated));
        chunks.iter().for_each(|chunk| splitter.push(chunk, &mut keep));
        splitter.finish(&mut keep);
        parts
    }

    #[test]
    fn lines_do_not_depend_on_the_chunking() {
        let text = b"one\n\ntwo\r\n\xff\nlast";
        let whole = split(&[text]);
        assert_eq!(
            whole,
            [
                (b"one".to_vec(), 0, false, false),
                (b"".to_vec(), 0, false, false),
                (b"two\r".to_vec(), 0, false, false),
                (b"\xff".to_vec(), 0, false, false),
                (b"last".to_vec(), 0, false, true),
            ]
        );
        for cut in 0..=text.len() {
            assert_eq!(split(&[&text[..cut], &text[cut..]]), whole);
        }
        assert_eq!(split(&text.chunks(1).collect::<Vec<_>>()), whole);
        assert_eq!(split(&[]), []);
    }

    #[test]
    fn a_long_line_comes_in_parts_between_characters() {
        let line = "é".repeat(MAX_LINE_BYTES);
        let parts = split(&[b"x", line.as_bytes(), b"\nnext\n"]);
        let sizes: Vec<_> = parts.iter().map(|(bytes, part, more, end)| (bytes.len(), *part, *more, *end)).collect();
        assert_eq!(
            sizes,
            [(MAX_LINE_BYTES - 1, 0, true, false), (MAX_LINE_BYTES, 1, true, false), (2, 2, false, false), (4, 0, false, false)]
        );
        assert!(parts.iter().all(|(bytes, ..)| std::str::from_utf8(bytes).is_ok()));
    }

    #[test]
    fn a_line_that_ends_with_its_part_is_told_from_one_that_goes_on() {
        let line = vec![b'x'; MAX_LINE_BYTES];
        assert_eq!(split(&[&line]), [(line.clone(), 0, true, false), (vec![], 1, false, true)]);
        assert_eq!(split(&[&line, b"\n"]), [(line.clone(), 0, true, false), (vec![], 1, false, false)]);
    }
}
