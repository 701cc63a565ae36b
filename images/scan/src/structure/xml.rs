//! XML and HTML: the text without its tags and comments.

use crate::decode::escape::Escape;
use memchr::{memchr, memmem};

/// All text joined; the content of CDATA sections is text too.
pub(super) fn text(body: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let rest = &body[at..];
        let open = memchr(b'<', rest).unwrap_or(rest.len());
        raw.extend_from_slice(rest[..open].trim_ascii());
        let tag = &rest[open..];
        let ends_with = |mark: &[u8]| memmem::find(tag, mark).map_or(tag.len(), |found| found + mark.len());
        let length = if tag.starts_with(b"<!--") {
            ends_with(b"-->")
        } else if let Some(data) = tag.strip_prefix(b"<![CDATA[") {
            raw.extend_from_slice(&data[..memmem::find(data, b"]]>").unwrap_or(data.len())]);
            ends_with(b"]]>")
        } else {
            ends_with(b">")
        };
        at += open + length;
    }
    let mut out = Vec::with_capacity(raw.len());
    Escape::Html.decode(&raw, &mut out);
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn tags_and_comments_between_texts_are_left_out() {
        let text = super::text(b"<a x='1'>gh<!-- > -->p<b/>&#95;<![CDATA[<x>]]> </a>\n end");
        assert_eq!(String::from_utf8(text).unwrap(), "ghp_<x>end");
        assert_eq!(super::text(b"a<"), b"a");
    }
}
