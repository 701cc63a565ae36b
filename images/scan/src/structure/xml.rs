//! XML and HTML: the text without its tags and comments.

use memchr::memchr;

use super::text_edges::{Out, TextEdges};

/// All text joined; the content of CDATA sections is text too.
#[derive(Debug, Default)]
pub(crate) struct Xml {
    at: At,
    text: TextEdges,
    /// The first bytes of a tag, or the last ones of a comment or section.
    mark: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Text,
    /// Behind `<`: a tag, a comment or a section.
    Open,
    Tag,
    Comment,
    Data,
}

impl Xml {
    pub(super) const VIEWS: [&str; 2] = ["xml text", ""];

    pub(super) fn read(&mut self, mut bytes: &[u8], out: &mut Out) {
        while !bytes.is_empty() {
            let taken = match self.at {
                At::Text => {
                    let open = memchr(b'<', bytes);
                    self.text.add(&bytes[..open.unwrap_or(bytes.len())]);
                    if open.is_some() {
                        self.text.flush(&mut out[0]);
                        self.enter(At::Open);
                    }
                    open.map_or(bytes.len(), |at| at + 1)
                }
                At::Open => self.open(bytes[0]),
                At::Tag => {
                    let close = memchr(b'>', bytes);
                    self.at = if close.is_some() { At::Text } else { At::Tag };
                    close.map_or(bytes.len(), |at| at + 1)
                }
                At::Comment => self.until(b"--", bytes).0,
                At::Data => {
                    let (taken, ended) = self.until(b"]]", bytes);
                    self.text.add(&bytes[..taken]);
                    if ended {
                        let mut text = Vec::new();
                        self.text.flush(&mut text);
                        out[0].extend_from_slice(text.strip_suffix(b"]]>").unwrap_or(&text));
                    }
                    taken
                }
            };
            bytes = &bytes[taken..];
        }
    }

    fn enter(&mut self, at: At) {
        self.at = at;
        self.mark.clear();
    }

    fn open(&mut self, byte: u8) -> usize {
        self.mark.push(byte);
        match &self.mark[..] {
            b"!--" => self.enter(At::Comment),
            b"![CDATA[" => self.enter(At::Data),
            mark if b"!--".starts_with(mark) || b"![CDATA[".starts_with(mark) => {}
            _ => {
                self.enter(At::Tag);
                return 0;
            }
        }
        1
    }

    /// Goes to the end of a comment or section: to `>` behind these two bytes.
    fn until(&mut self, two: &[u8; 2], bytes: &[u8]) -> (usize, bool) {
        let mut from = 0;
        while let Some(found) = memchr(b'>', &bytes[from..]) {
            let at = from + found;
            let before = [self.mark.as_slice(), &bytes[at.saturating_sub(2)..at]].concat();
            if before.ends_with(two) {
                self.enter(At::Text);
                return (at + 1, true);
            }
            from = at + 1;
        }
        self.mark.extend_from_slice(&bytes[bytes.len().saturating_sub(2)..]);
        self.mark.drain(..self.mark.len().saturating_sub(2));
        (bytes.len(), false)
    }

    pub(super) fn end(&mut self, out: &mut Out) {
        self.text.flush(&mut out[0]);
    }
}
