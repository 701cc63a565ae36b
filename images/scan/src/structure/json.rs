//! JSON and what resembles it: comments, single quotes, several documents, invalid UTF-8 do not matter.

use memchr::{memchr, memchr2};

use super::text_edges::{Out, TextEdges};

/// All keys joined, and all string values joined, in their order; both of two equal keys count.
#[derive(Debug, Default)]
pub(crate) struct Json {
    string: TextEdges,
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
            if !self.inside && !self.ended {
                bytes = plain(bytes, out);
            }
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

/// Strings that stand whole in `bytes`, are short and have no backslash, as most do, from their place into their view.
/// What is left begins between two strings.
fn plain<'b>(mut bytes: &'b [u8], out: &mut Out) -> &'b [u8] {
    loop {
        let Some(string) = near(bytes, |b| b == b'"', |bytes| memchr(b'"', bytes)).map(|quote| &bytes[quote + 1..]) else { return bytes };
        let Some(end) = near(string, |b| b == b'"' || b == b'\\', |bytes| memchr2(b'"', b'\\', bytes)) else { return bytes };
        let rest = &string[end..];
        let Some(next) = rest[1..].iter().find(|b| !b.is_ascii_whitespace()) else { return bytes };
        if rest[0] == b'\\' || end > TextEdges::MAX_WHOLE {
            return bytes;
        }
        out[usize::from(*next != b':')].extend_from_slice(string[..end].trim_ascii());
        bytes = &rest[1..];
    }
}

/// What stands within a few bytes is found before a faster search has begun.
fn near(bytes: &[u8], is: impl Fn(u8) -> bool, search: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    const NEAR: usize = 16;
    let (first, rest) = bytes.split_at(bytes.len().min(NEAR));
    first.iter().position(|&b| is(b)).or_else(|| search(rest).map(|at| NEAR + at))
}
