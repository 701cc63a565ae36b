//! JSON and what resembles it: comments, single quotes, several documents, invalid UTF-8 do not matter.

use memchr::{memchr, memchr2};

use super::Out;
use super::piece::Piece;

/// All keys joined, and all string values joined, in their order; both of two equal keys count.
#[derive(Debug, Default)]
pub(crate) struct Json {
    string: Piece,
    inside: bool,
    /// The next byte of the string has a backslash before it.
    escaped: bool,
    /// A string has ended, and what follows it will say whether it is a key.
    ended: bool,
}

impl Json {
    pub(super) const VIEWS: [&str; 2] = ["json keys", "json values"];

    pub(super) fn read(&mut self, mut bytes: &[u8], out: &mut Out) {
        while !bytes.is_empty() {
            let taken = if self.inside { self.string(bytes) } else { self.between(bytes, out) };
            bytes = &bytes[taken..];
        }
    }

    fn string(&mut self, bytes: &[u8]) -> usize {
        if std::mem::take(&mut self.escaped) {
            self.string.add(&bytes[..1]);
            return 1;
        }
        let end = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
        self.string.add(&bytes[..end]);
        match bytes.get(end) {
            None => return end,
            Some(b'"') => (self.inside, self.ended) = (false, true),
            Some(_) => {
                self.string.add(b"\\");
                self.escaped = true;
            }
        }
        end + 1
    }

    fn between(&mut self, bytes: &[u8], out: &mut Out) -> usize {
        if self.ended {
            let Some(next) = bytes.iter().find(|b| !b.is_ascii_whitespace()) else { return bytes.len() };
            self.string.flush(&mut out[usize::from(*next != b':')]);
            self.ended = false;
        }
        let quote = memchr(b'"', bytes);
        self.inside = quote.is_some();
        quote.map_or(bytes.len(), |at| at + 1)
    }

    pub(super) fn end(&mut self, out: &mut Out) {
        self.string.flush(&mut out[1]);
    }
}
