//! What a message says, apart from how it is written: its texts without what stands between them.
//!
//! A secret that is split over values, parts or elements stands in no raw bytes. These views are scanned besides the
//! raw bytes, never instead: a receiver's parser may read the message in another way than these lenient ones. They are
//! made as the message arrives, in bounded memory, and do not depend on how it is cut.

mod files;
mod form;
mod json;
mod multipart;
mod text_edges;
mod xml;

pub(crate) use files::Files;
use form::Form;
use json::Json;
use multipart::Multipart;
pub(crate) use text_edges::Out;
use xml::Xml;

/// A body without a type is taken for a form up to this size.
const MAX_UNTYPED_FORM: usize = 64 << 10;

/// The names of all views.
pub(crate) const VIEWS: [&str; 7] =
    [Json::VIEWS[0], Json::VIEWS[1], Form::VIEWS[0], Multipart::VIEWS[0], Multipart::VIEWS[1], Xml::VIEWS[0], FILE];

/// The name of the view of a file under its name.
pub(crate) const FILE: &str = "multipart file";

/// One way to read a message.
#[derive(Debug)]
pub(crate) enum Reader {
    Json(Json),
    Form(Form),
    Multipart(Multipart),
    Xml(Xml),
}

impl Reader {
    /// The readers for a message of this `Content-Type` that begins with `first`, white space and a byte order mark left
    /// out. A missing, unknown or false type gives those that the first byte suggests.
    pub(crate) fn all(content_type: Option<&str>, first: u8) -> Vec<Self> {
        let kind = content_type.map(str::to_ascii_lowercase).unwrap_or_default();
        let says = |words: &[&str]| words.iter().any(|word| kind.contains(word));
        let mut readers = Vec::new();
        if says(&["json"]) || matches!(first, b'{' | b'[') {
            readers.push(Self::Json(Json::default()));
        }
        if says(&["form-urlencoded"]) || kind.is_empty() {
            readers.push(Self::Form(Form::default()));
        }
        if says(&["multipart"]) || first == b'-' {
            readers.push(Self::Multipart(Multipart::default()));
        }
        if says(&["xml", "html", "svg"]) || first == b'<' {
            readers.push(Self::Xml(Xml::default()));
        }
        readers
    }

    /// The names of its views, as in [`crate::Finding::encodings`].
    pub(crate) fn views(&self) -> [&'static str; 2] {
        match self {
            Self::Json(_) => Json::VIEWS,
            Self::Form(_) => Form::VIEWS,
            Self::Multipart(_) => Multipart::VIEWS,
            Self::Xml(_) => Xml::VIEWS,
        }
    }

    /// How many bytes it is worth reading.
    pub(crate) fn max_len(&self, content_type: Option<&str>) -> usize {
        if matches!(self, Self::Form(_)) && content_type.is_none() { MAX_UNTYPED_FORM } else { usize::MAX }
    }

    /// Takes the next bytes of the message, and adds to its views.
    pub(crate) fn read(&mut self, bytes: &[u8], out: &mut Out) {
        match self {
            Self::Json(json) => json.read(bytes, out),
            Self::Form(form) => form.read(bytes, out),
            Self::Multipart(multipart) => multipart.read(bytes, out),
            Self::Xml(xml) => xml.read(bytes, out),
        }
    }

    /// The end of the message.
    pub(crate) fn end(&mut self, out: &mut Out) {
        match self {
            Self::Json(json) => json.end(out),
            Self::Form(form) => form.end(out),
            Self::Multipart(multipart) => multipart.end(out),
            Self::Xml(xml) => xml.end(out),
        }
    }
}

/// True for what may stand before the first byte that tells what a message is: white space, a byte order mark.
pub(crate) fn is_lead(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, 0xef | 0xbb | 0xbf)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader makes of a body, however it is cut.
    fn read(content_type: &str, body: &[u8]) -> [String; 2] {
        let whole = cut(content_type, body, usize::MAX);
        for size in 1..8 {
            assert_eq!(cut(content_type, body, size), whole, "in chunks of {size}");
        }
        whole
    }

    fn cut(content_type: &str, body: &[u8], size: usize) -> [String; 2] {
        let mut readers = Reader::all(Some(content_type), b'x');
        assert_eq!(readers.len(), 1, "{content_type}");
        let mut out = Out::default();
        body.chunks(size).for_each(|chunk| readers[0].read(chunk, &mut out));
        readers[0].end(&mut out);
        out.map(|text| String::from_utf8(text).unwrap())
    }

    fn both(first: &str, second: &str) -> [String; 2] {
        [first.to_owned(), second.to_owned()]
    }

    #[test]
    fn keys_and_values_of_json_are_joined_apart() {
        let body = br#"{"a":"x\"1","a" : ["\u0079",2,"z"],/* "c" */ "b":{"d":null,"e":"w"#;
        assert_eq!(read("application/json", body), both("aabde", r#"x\"1\u0079zcw"#));
    }

    #[test]
    fn values_of_a_form_are_joined() {
        assert_eq!(read("application/x-www-form-urlencoded", b"a=gh%70&b=_x=1&c&d="), both("gh%70_x=1c", ""));
    }

    #[test]
    fn fields_and_parameters_of_parts_are_joined_apart() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"n\"; filename*0=\"f0\"; filename*1=f1\r\nX: y\r\n\r\none\r\n--b\r\n\
            Content-Disposition: form-data; name=m\r\n\r\ntwo\r\n--b--\r\n";
        assert_eq!(read("multipart/form-data", body), both("onetwo", "nf0f1m"));
        assert_eq!(read("multipart/mixed", b"a: b\n\ntext"), both("text", ""), "without a boundary it is one part");
        assert_eq!(read("multipart/mixed", b""), both("", ""));
    }

    #[test]
    fn tags_and_comments_between_texts_are_left_out() {
        let body = b"<a x='1'>gh<!-- > -->p<b/>&#95;<![CDATA[<x>]]> </a>\n end";
        assert_eq!(read("text/xml", body), both("ghp&#95;<x>end", ""));
        assert_eq!(read("image/svg", b"a<"), both("a", ""));
    }

    // covers: D08
    #[test]
    fn neither_a_missing_nor_a_wrong_type_hides_what_a_body_is() {
        let views = |kind, first| Reader::all(kind, first).iter().map(|reader| reader.views()[0]).collect::<Vec<_>>();
        assert_eq!(views(None, b'['), ["json keys", "form values"]);
        assert_eq!(views(None, b'<'), ["form values", "xml text"]);
        assert_eq!(views(None, b'a'), ["form values"]);
        assert_eq!(views(Some("text/plain"), b'{'), ["json keys"]);
        assert_eq!(views(Some("text/plain"), b'-'), ["multipart fields"]);
        assert_eq!(views(Some("text/plain"), b'h'), [""; 0]);
    }
}
