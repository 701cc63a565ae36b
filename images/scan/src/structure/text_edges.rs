//! One text of a message, on its way into a view.

/// How much of the beginning and of the end of a long text is remembered: more than the longest token takes.
const EDGE: usize = 1024;

/// The texts of up to two views, to be scanned and forgotten.
pub(crate) type Out = [Vec<u8>; 2];

/// All of a short text, the beginning and the end of a long one: only these can stand next to another text. What is
/// inside a long one was scanned where it stands.
#[derive(Debug, Default)]
pub(super) struct TextEdges {
    head: Vec<u8>,
    /// What came after the first [`EDGE`] bytes of a long text, the last of it.
    tail: Vec<u8>,
    long: bool,
}

impl TextEdges {
    /// The bytes of a text up to which all of it is remembered.
    pub(super) const MAX_WHOLE: usize = 2 * EDGE;

    pub(super) fn add(&mut self, bytes: &[u8]) {
        if !self.long && self.head.len() + bytes.len() <= Self::MAX_WHOLE {
            self.head.extend_from_slice(bytes);
            return;
        }
        if !self.long {
            self.long = true;
            let room = EDGE.saturating_sub(self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..room]);
            self.tail = self.head.split_off(self.head.len().min(EDGE));
            self.push_tail(&bytes[room..]);
        } else {
            self.push_tail(bytes);
        }
    }

    fn push_tail(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(EDGE)..]);
        if self.tail.len() > 4 * EDGE {
            self.tail.drain(..self.tail.len() - EDGE);
        }
    }

    /// Nothing of it counts.
    pub(super) fn clear(&mut self) {
        self.head.clear();
        self.tail.clear();
        self.long = false;
    }

    /// Moves it to the end of `into`, without white space around it.
    pub(super) fn flush(&mut self, into: &mut Vec<u8>) {
        if self.long {
            into.extend_from_slice(self.head.trim_ascii_start());
            into.push(b'\n');
            into.extend_from_slice(self.tail[self.tail.len().saturating_sub(EDGE)..].trim_ascii_end());
        } else {
            into.extend_from_slice(self.head.trim_ascii());
        }
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_text_both_ends_stay() {
        let text: Vec<u8> = (0..20_000u32).flat_map(|i| format!("{i},").into_bytes()).collect();
        for size in [1, 7, 1023, 5000, usize::MAX] {
            let (mut edges, mut out) = (TextEdges::default(), Vec::new());
            text.chunks(size).for_each(|part| edges.add(part));
            edges.flush(&mut out);
            assert_eq!(out, [&text[..EDGE], b"\n", &text[text.len() - EDGE..]].concat(), "in parts of {size}");
            text[..2000].chunks(size).for_each(|part| edges.add(part));
            out.clear();
            edges.flush(&mut out);
            assert_eq!(out, text[..2000], "in parts of {size}");
        }
    }
}
