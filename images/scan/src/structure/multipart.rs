//! `multipart/*`: whatever the type says the boundary is, each line that begins with two hyphens can be one.

use super::View;
use memchr::memmem;

/// The longest body that is joined to others: a field, not a file.
const FIELD: usize = 4 << 10;

/// The bodies of all parts that are fields, joined; and the values of all parameters of all part headers, joined, as
/// `filename*0="a"; filename*1="b"` asks for (RFC 2231, section 3).
pub(super) fn views(body: &[u8]) -> [View; 2] {
    let (mut fields, mut parameters) = (Vec::new(), Vec::new());
    for part in parts(body) {
        let bare = part.strip_prefix(b"\r\n").or(part.strip_prefix(b"\n"));
        let (headers, content) = match bare {
            Some(content) => (&part[..0], content),
            None => halves(part),
        };
        for parameter in headers.split(|b| matches!(b, b';' | b'\r' | b'\n')) {
            if let Some(equals) = memchr::memchr(b'=', parameter) {
                let value = parameter[equals + 1..].trim_ascii();
                parameters.extend_from_slice(value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value));
            }
        }
        let content = content.strip_suffix(b"\r\n").or(content.strip_suffix(b"\n")).unwrap_or(content);
        if content.len() <= FIELD {
            fields.extend_from_slice(content);
        }
    }
    [("multipart fields", fields), ("multipart parameters", parameters)]
}

/// The headers of a part, and its body.
fn halves(part: &[u8]) -> (&[u8], &[u8]) {
    match memmem::find(part, b"\r\n\r\n").map(|at| (at, 4)).or(memmem::find(part, b"\n\n").map(|at| (at, 2))) {
        Some((at, gap)) => (&part[..at], &part[at + gap..]),
        None => (part, &[]),
    }
}

/// What stands between lines that begin with two hyphens.
fn parts(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let rest = &body[at..];
        let (end, next) = match memmem::find(rest, b"\n--") {
            Some(found) => {
                let line = found + 1;
                (line, line + memchr::memchr(b'\n', &rest[line..]).map_or(rest.len() - line, |end| end + 1))
            }
            None => (rest.len(), rest.len()),
        };
        ended = next == rest.len();
        at += next;
        // The first line of all is a boundary, with no line before it.
        let part = &rest[..end];
        Some(if part.starts_with(b"--") { memchr::memchr(b'\n', part).map_or(&part[..0], |line| &part[line + 1..]) } else { part })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_parameters_are_joined_apart() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"n\"; filename*0=\"f0\"; filename*1=f1\r\nX: y\r\n\r\none\r\n--b\r\n\
            Content-Disposition: form-data; name=m\r\n\r\ntwo\r\n--b--\r\n";
        let [fields, parameters] = views(body);
        assert_eq!(String::from_utf8(fields.1).unwrap(), "onetwo");
        assert_eq!(String::from_utf8(parameters.1).unwrap(), "nf0f1m");
    }

    #[test]
    fn a_body_without_a_boundary_is_one_part() {
        assert_eq!(views(b"a: b\n\ntext")[0].1, b"text");
        assert_eq!(views(b"")[0].1, b"");
    }
}
