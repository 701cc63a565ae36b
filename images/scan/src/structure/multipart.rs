//! `multipart/*`: whatever the type says the boundary is, each line that begins with two hyphens can be one.

use super::text_edges::Out;

/// The longest body that is joined to others, and the longest line of a part's head: a field, not a file.
const FIELD: usize = 4 << 10;

/// The bodies of all parts that are fields, joined; and the values of all parameters of all part headers, joined, as
/// `filename*0="a"; filename*1="b"` asks for (RFC 2231, section 3).
#[derive(Debug)]
pub(crate) struct Multipart {
    /// The line under way, or its beginning.
    line: Vec<u8>,
    /// The body of the part under way, or its beginning.
    content: Vec<u8>,
    in_head: bool,
}

impl Default for Multipart {
    /// A body without a boundary is one part.
    fn default() -> Self {
        Self { line: Vec::new(), content: Vec::new(), in_head: true }
    }
}

impl Multipart {
    pub(super) const VIEWS: [&str; 2] = ["multipart fields", "multipart parameters"];

    pub(super) fn read(&mut self, mut bytes: &[u8], out: &mut Out) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.add(&bytes[..=end]);
            self.end_of_line(out);
            bytes = &bytes[end + 1..];
        }
        self.add(bytes);
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = (FIELD + 1).saturating_sub(self.line.len()).min(bytes.len());
        self.line.extend_from_slice(&bytes[..room]);
    }

    fn end_of_line(&mut self, out: &mut Out) {
        if self.line.starts_with(b"--") {
            self.end_of_part(out);
            self.in_head = true;
        } else if !self.in_head {
            let room = (FIELD + 3).saturating_sub(self.content.len()).min(self.line.len());
            self.content.extend_from_slice(&self.line[..room]);
        } else if self.line.trim_ascii().is_empty() {
            self.in_head = false;
        } else {
            for parameter in self.line.split(|b| *b == b';') {
                if let Some(equals) = memchr::memchr(b'=', parameter) {
                    let value = parameter[equals + 1..].trim_ascii();
                    out[1].extend_from_slice(value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value));
                }
            }
        }
        self.line.clear();
    }

    fn end_of_part(&mut self, out: &mut Out) {
        let content = self.content.strip_suffix(b"\n").unwrap_or(&self.content);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        if content.len() <= FIELD {
            out[0].extend_from_slice(content);
        }
        self.content.clear();
    }

    pub(super) fn end(&mut self, out: &mut Out) {
        self.end_of_line(out);
        self.end_of_part(out);
    }
}
