//! The canonical form of a request path. The form that is judged is the form that is sent.

use std::borrow::Cow;
use std::fmt;

/// Why a path has no single reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// It does not start with exactly one slash.
    NotAbsolute,
    /// A control character, a space, a backslash, a fragment or a byte outside ASCII.
    BadCharacter,
    /// A `%` without two hexadecimal digits, or one that encodes a control character or a backslash.
    BadEscape,
    /// A `.` or `..` segment, plain or hidden by escapes, parameters or slashes that an origin may decode.
    DotSegment,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "the path must start with exactly one slash",
            Self::BadCharacter => "the path has a character that must be escaped",
            Self::BadEscape => "the path has a percent escape that cannot be read safely",
            Self::DotSegment => "the path has a dot segment",
        })
    }
}

impl std::error::Error for PathError {}

/// Levels of nested escapes that are checked; nobody means more.
const MAX_DECODINGS: usize = 8;

/// Rewrites a path (without its query) to its canonical form: unreserved characters decoded, other escapes in upper case
/// (RFC 3986, section 6.2.2). A path that some origin might resolve to another one is an error. `%2F` stays escaped,
/// because npm's scoped names need it: without dot segments, even an origin that decodes it cannot leave the matched
/// prefix.
pub fn canonical(path: &str) -> Result<String, PathError> {
    if path.starts_with("//") {
        return Err(PathError::NotAbsolute);
    }
    requested(path)
}

/// The same for the path of a request. Bytes outside ASCII are escaped, as every client should (RFC 3986, section 2.1). Two slashes at the
/// beginning stay: a base URL that ends with one leads to them, and most servers take them.
pub fn requested(path: &str) -> Result<String, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    let path = &*escape_bytes(path);
    let mut out = String::with_capacity(path.len());
    let bytes = path.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let value = escape_at(bytes, at).ok_or(PathError::BadEscape)?;
                if is_unreserved(value) {
                    out.push(char::from(value));
                } else {
                    out.push_str(&format!("%{value:02X}"));
                }
                at += 3;
            }
            b if b <= b' ' || b >= 0x7f || matches!(b, b'\\' | b'#' | b'?' | b'"' | b'<' | b'>') => return Err(PathError::BadCharacter),
            b => {
                out.push(char::from(b));
                at += 1;
            }
        }
    }
    refuse_hidden_dots(&out)?;
    Ok(out)
}

/// Decodes repeatedly, as careless origins do, and refuses dot segments at every level.
fn refuse_hidden_dots(path: &str) -> Result<(), PathError> {
    let mut level = Cow::Borrowed(path.as_bytes());
    for _ in 0..MAX_DECODINGS {
        if level.iter().any(|&b| b < b' ' || b == 0x7f || b == b'\\') {
            return Err(PathError::BadEscape);
        }
        let dots = |segment: &[u8]| {
            let name = segment.split(|&b| b == b';').next().unwrap_or(segment);
            matches!(name, b"." | b"..")
        };
        if level.split(|&b| b == b'/').any(dots) {
            return Err(PathError::DotSegment);
        }
        if !level.contains(&b'%') {
            return Ok(());
        }
        let decoded = decode_once(&level);
        if decoded == *level {
            return Ok(());
        }
        level = Cow::Owned(decoded);
    }
    Err(PathError::BadEscape)
}

fn decode_once(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match escape_at(bytes, at) {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

fn escape_at(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    match bytes.get(at..at + 3)? {
        [b'%', high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    }
}

/// The text with every byte outside ASCII as a percent escape.
pub fn escape_bytes(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() * 2);
    for b in text.bytes() {
        match b.is_ascii() {
            true => out.push(char::from(b)),
            false => out.push_str(&format!("%{b:02X}")),
        }
    }
    Cow::Owned(out)
}

/// Whether some server that decodes more than it should may read a dot segment in a canonical path: overlong or full-width characters,
/// or dots before something that it cuts off.
pub fn hides_dots(path: &str) -> bool {
    let mut level = Cow::Borrowed(path.as_bytes());
    for _ in 0..MAX_DECODINGS {
        let plain = fold_lookalikes(&level);
        let dots = |segment: &[u8]| {
            let name = segment.split(|b| !b.is_ascii_graphic() || b"?#;%:&".contains(b)).next().unwrap_or_default();
            name.len() > 1 && name.iter().all(|b| *b == b'.') || (name == b"." && segment.len() > 1)
        };
        if plain.split(|b| matches!(b, b'/' | b'\\')).any(dots) {
            return true;
        }
        let decoded = decode_once(&level);
        if decoded == *level {
            return false;
        }
        level = Cow::Owned(decoded);
    }
    true
}

/// Overlong UTF-8 (RFC 3629, section 10) and full-width forms of dots and slashes, in ASCII.
fn fold_lookalikes(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, behind)) = rest.split_first() {
        let (byte, taken) = match *rest {
            [0xc0 | 0xc1, low, ..] if low & 0x40 == 0 || low & 0x80 != 0 => ((first & 1) << 6 | low & 0x3f, 2),
            [0xe0, 0x80 | 0x81, low @ 0x80..=0xbf, ..] => ((rest[1] & 1) << 6 | low & 0x3f, 3),
            [0xef, 0xbc, low @ 0x81..=0xbf, ..] => (low - 0x81 + b'!', 3),
            [0xe3, 0x80, 0x82, ..] => (b'.', 3),
            _ => (first, 1),
        };
        out.push(byte);
        rest = if taken == 1 { behind } else { &rest[taken..] };
    }
    out
}

fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

/// Checks a query, which is sent unchanged: no character in it may end the request line.
pub fn query_is_sendable(query: &str) -> bool {
    query.bytes().all(|b| b > b' ' && b < 0x7f && b != b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: A13
    #[test]
    fn a_path_in_which_a_lax_server_sees_dots_is_known() {
        for path in [
            "/v1/%C0%AE%C0%AE/admin",
            "/v1/%E0%80%AE%E0%80%AE/admin",
            "/v1/%EF%BC%8E%EF%BC%8E/admin",
            "/v1/..%20/admin",
            "/v1/..%3F/admin",
            "/v1/..%23/admin",
            "/v1/...%2Fadmin",
            "/v1/%25C0%25AE./admin",
            "/v1/x%EF%BC%8F..%EF%BC%8Fadmin",
            "/v1/.%09/admin",
        ] {
            assert!(hides_dots(path), "{path}");
        }
        for path in ["/v1/admin", "/.well-known/x", "/a..b/c", "/v1/x...", "/%C3%A9/x.y", "/v1/%20x", "/v1/..x", "//v1/x", "/@s%2Fn"] {
            assert!(!hides_dots(path), "{path}");
        }
    }

    // covers: V36 V45
    #[test]
    fn a_request_may_begin_with_two_slashes_and_hold_what_is_not_ascii() {
        assert_eq!(requested("//v1/caf\u{e9}").as_deref(), Ok("//v1/caf%C3%A9"));
        assert_eq!(requested("//v1/../x"), Err(PathError::DotSegment));
        assert_eq!(canonical("//v1"), Err(PathError::NotAbsolute));
        assert_eq!(escape_bytes("q=\u{e9}&r"), "q=%C3%A9&r");
    }

    // covers: H12
    #[test]
    fn a_path_that_an_origin_could_read_otherwise_is_refused() {
        for (path, error) in [
            ("/v1/../admin", PathError::DotSegment),
            ("/v1/%2e%2e/admin", PathError::DotSegment),
            ("/v1/%2E./admin", PathError::DotSegment),
            ("/v1/..%2fadmin", PathError::DotSegment),
            ("/v1/..%252fadmin", PathError::DotSegment),
            ("/v1/%252e%252e/admin", PathError::DotSegment),
            ("/v1/..;/admin", PathError::DotSegment),
            ("/v1/..;x=1/admin", PathError::DotSegment),
            ("/v1/.", PathError::DotSegment),
            ("/v1/..", PathError::DotSegment),
            ("/v1/%5c..%5cadmin", PathError::BadEscape),
            ("/v1/x%5cadmin", PathError::BadEscape),
            ("/v1\\admin", PathError::BadCharacter),
            ("/v1/%00", PathError::BadEscape),
            ("/v1/%0d%0aHost:x", PathError::BadEscape),
            ("/v1/%zz", PathError::BadEscape),
            ("/v1/%2", PathError::BadEscape),
            ("/v1/a b", PathError::BadCharacter),
            ("/v1/#x", PathError::BadCharacter),
            ("//evil.test/v1/", PathError::NotAbsolute),
            ("v1/", PathError::NotAbsolute),
            ("", PathError::NotAbsolute),
        ] {
            assert_eq!(canonical(path), Err(error), "{path}");
        }
        let nested = format!("/{}2e", String::from("%25") + &"25".repeat(30));
        assert_eq!(canonical(&nested), Err(PathError::BadEscape));
    }

    #[test]
    fn the_canonical_form_is_stable() {
        for (path, form) in [
            ("/", "/"),
            ("/v1/%41%7e%2D", "/v1/A~-"),
            ("/@scope%2fname", "/@scope%2Fname"),
            ("/a//b/", "/a//b/"),
            ("/a/...", "/a/..."),
            ("/a/.git/config", "/a/.git/config"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/100%25", "/100%25"),
            ("/a;v=1,2/b:c@d!$&'()*+", "/a;v=1,2/b:c@d!$&'()*+"),
        ] {
            assert_eq!(canonical(path).as_deref(), Ok(form));
            assert_eq!(canonical(form).as_deref(), Ok(form), "again");
        }
    }
}
