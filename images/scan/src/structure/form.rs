//! `application/x-www-form-urlencoded`, and queries.

use super::text_edges::{Out, TextEdges};

/// All values joined, as they are written: the scanner reads their escapes.
#[derive(Debug, Default)]
pub(crate) struct Form {
    value: TextEdges,
    named: bool,
}

impl Form {
    pub(super) const VIEWS: [&str; 2] = ["form values", ""];

    pub(super) fn read(&mut self, mut bytes: &[u8], out: &mut Out) {
        while let Some(at) = memchr::memchr3(b'&', b';', b'=', bytes) {
            self.value.add(&bytes[..at]);
            if bytes[at] != b'=' {
                self.value.flush(&mut out[0]);
                self.named = false;
            } else if std::mem::replace(&mut self.named, true) {
                self.value.add(b"=");
            } else {
                self.value.clear();
            }
            bytes = &bytes[at + 1..];
        }
        self.value.add(bytes);
    }

    pub(super) fn end(&mut self, out: &mut Out) {
        self.value.flush(&mut out[0]);
    }
}
