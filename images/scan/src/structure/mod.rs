//! What a message says, apart from how it is written: its texts without what stands between them.
//!
//! A secret that is split over values, parts or elements stands in no raw bytes. These views are scanned besides the
//! raw bytes, never instead: a receiver's parser may read the message in another way than these lenient ones.

mod form;
mod json;
mod multipart;
mod xml;

/// A view: its name in [`crate::Finding::encodings`], and the joined texts.
pub(crate) type View = (&'static str, Vec<u8>);

/// The views of a message of this `Content-Type`. A missing or unknown type gives those that the first byte suggests.
pub(crate) fn views(content_type: Option<&str>, body: &[u8]) -> Vec<View> {
    let kind = content_type.map(str::to_ascii_lowercase).unwrap_or_default();
    let says = |words: &[&str]| words.iter().any(|word| kind.contains(word));
    let first = body.iter().copied().find(|b| !b.is_ascii_whitespace() && !matches!(b, 0xef | 0xbb | 0xbf));
    let mut views = Vec::new();
    if says(&["json"]) || matches!(first, Some(b'{' | b'[')) {
        views.extend(json::views(body));
    }
    if says(&["form-urlencoded"]) || kind.is_empty() && !body.is_empty() && memchr::memchr(b'=', body).is_some() && body.len() < FORM {
        views.push(("form values", form::values(body)));
    }
    if says(&["multipart"]) || body.starts_with(b"--") {
        views.extend(multipart::views(body));
    }
    if says(&["xml", "html", "svg"]) || first == Some(b'<') {
        views.push(("xml text", xml::text(body)));
    }
    views.retain(|(_, text)| !text.is_empty());
    views
}

/// A body without a type is taken for a form up to this size.
const FORM: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(content_type: Option<&str>, body: &str) -> Vec<(&'static str, String)> {
        views(content_type, body.as_bytes()).into_iter().map(|(name, text)| (name, String::from_utf8_lossy(&text).into_owned())).collect()
    }

    #[test]
    fn a_message_without_a_type_is_read_as_what_it_looks_like() {
        assert_eq!(joined(None, "\u{feff} [\"a\",\"b\"]"), [("json values", "ab".to_owned())]);
        assert_eq!(joined(None, "<a>x<b>y</b></a>"), [("xml text", "xy".to_owned())]);
        assert_eq!(joined(None, "a=x&b=y"), [("form values", "xy".to_owned())]);
        assert_eq!(joined(Some("text/plain"), "hello"), []);
    }

    // covers: D08
    #[test]
    fn a_wrong_type_does_not_hide_what_the_body_is() {
        assert_eq!(joined(Some("text/plain"), "{\"k\":\"v\"}"), [("json keys", "k".to_owned()), ("json values", "v".to_owned())]);
    }
}
