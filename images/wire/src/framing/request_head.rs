//! One request's head (RFC 9112, sections 2 to 6), recognised without leniency.

use bottle_policy::target::offers_websocket;

use super::violation::Violation;

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Length(u64),
    Chunked,
    /// Whatever follows is not ours to read as HTTP/1.
    Opaque,
}

/// The length of the head at the start of `bytes`, if all of it is there. `searched` remembers what needs no second
/// look when more bytes have come.
pub(super) fn end(bytes: &[u8], searched: &mut usize) -> Result<Option<usize>, Violation> {
    let mut from = *searched;
    while let Some(found) = memchr::memchr(b'\n', &bytes[from..]) {
        let lf = from + found;
        match bytes[..lf] {
            [.., b'\r', b'\n', b'\r'] => return Ok(Some(lf + 1)),
            // No request starts with an empty line.
            [b'\r'] => return Err(Violation::RequestLine),
            [.., b'\r'] => from = lf + 1,
            _ => return Err(Violation::BareLineEnd),
        }
    }
    *searched = from;
    Ok(None)
}

/// Reads a whole head, with its last empty line.
pub(super) fn read(head: &[u8], max_fields: usize) -> Result<Body, Violation> {
    let mut lines = Lines(head);
    let (method, http_1_1) = request_line(lines.next().ok_or(Violation::RequestLine)?)?;
    let mut framing = Framing::default();
    for (count, line) in lines.enumerate() {
        if count >= max_fields {
            return Err(Violation::TooManyFields);
        }
        let (name, value) = field(line)?;
        framing.note(name, value)?;
    }
    framing.body(method, http_1_1)
}

/// The lines of a head, without their ends and without the last, empty one. [`end`] has seen CR LF at the end of each.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let lf = memchr::memchr(b'\n', self.0)?;
        let line = &self.0[..lf - 1];
        self.0 = &self.0[lf + 1..];
        (!line.is_empty()).then_some(line)
    }
}

fn request_line(line: &[u8]) -> Result<(&[u8], bool), Violation> {
    let mut parts = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(Violation::RequestLine);
    };
    let plain = method.first().is_some_and(u8::is_ascii_uppercase) && method.iter().all(|b| b.is_ascii_uppercase() || *b == b'-');
    if !plain || method.len() > 32 {
        return Err(if method.iter().all(u8::is_ascii_alphabetic) && !method.is_empty() {
            Violation::MethodCase
        } else {
            Violation::Method
        });
    }
    // hyper would drop a connection whose target its own parser rejects, without an answer.
    // Bytes outside ASCII are escaped later.
    if !target.iter().all(|&b| (b.is_ascii_graphic() || b >= 0x80) && b != b'#') || http::Uri::try_from(target).is_err() {
        return Err(Violation::Target);
    }
    match version {
        b"HTTP/1.1" => Ok((method, true)),
        b"HTTP/1.0" => Ok((method, false)),
        _ => Err(Violation::Version),
    }
}

/// A character of a token (RFC 9110, section 5.6.2).
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    if matches!(line[0], b' ' | b'\t') {
        return Err(Violation::FoldedLine);
    }
    let colon = memchr::memchr(b':', line).ok_or(Violation::FieldName)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().all(|&b| is_token(b)) {
        return Err(Violation::FieldName);
    }
    if !value.iter().all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f)) {
        return Err(Violation::FieldValue);
    }
    Ok((name, value.trim_ascii()))
}

#[derive(Default)]
struct Framing {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl Framing {
    fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), Violation> {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match name.len() {
            4 if is("host") => self.hosts += 1,
            7 if is("upgrade") => self.upgrade |= offers_websocket([value]),
            14 if is("content-length") => {
                let plain = !value.is_empty() && value.len() < 19 && value.iter().all(u8::is_ascii_digit);
                if self.length.is_some() || !plain {
                    return Err(Violation::ContentLength);
                }
                self.length = Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')));
            }
            // Some origins read an underscore as a hyphen.
            14 if is("content_length") => return Err(Violation::ContentLength),
            17 if is("transfer_encoding") => return Err(Violation::TransferEncoding),
            17 if is("transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Violation::TransferEncoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn body(self, method: &[u8], http_1_1: bool) -> Result<Body, Violation> {
        let connect = method == b"CONNECT";
        // Old Python sends CONNECT without Host; the target alone names the origin there.
        if self.hosts > 1 || (self.hosts == 0 && http_1_1 && !connect) {
            return Err(Violation::Host);
        }
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Violation::TwoLengths),
            (_, true) if !http_1_1 => Err(Violation::TransferEncoding),
            (Some(1..), _) | (_, true) if connect => Err(Violation::ConnectBody),
            _ if connect || self.upgrade => Ok(Body::Opaque),
            (_, true) => Ok(Body::Chunked),
            (length, false) => Ok(Body::Length(length.unwrap_or(0))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(head: &str) -> Result<Body, Violation> {
        match end(head.as_bytes(), &mut 0)? {
            Some(end) => read(&head.as_bytes()[..end], 8),
            None => panic!("not whole: {head:?}"),
        }
    }

    fn fields(fields: &str) -> Result<Body, Violation> {
        judge(&format!("POST / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"))
    }

    // covers: H04
    #[test]
    fn a_body_has_one_length_or_none() {
        for (text, body) in [
            ("", Ok(Body::Length(0))),
            ("Content-Length: 5\r\n", Ok(Body::Length(5))),
            ("content-length:\t5 \r\n", Ok(Body::Length(5))),
            ("Transfer-Encoding: Chunked\r\n", Ok(Body::Chunked)),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Err(Violation::ContentLength)),
            ("Content-Length: 5, 5\r\n", Err(Violation::ContentLength)),
            ("Content-Length: +5\r\n", Err(Violation::ContentLength)),
            ("Content-Length: -1\r\n", Err(Violation::ContentLength)),
            ("Content-Length: 0x5\r\n", Err(Violation::ContentLength)),
            ("Content-Length: 5 5\r\n", Err(Violation::ContentLength)),
            ("Content-Length:\r\n", Err(Violation::ContentLength)),
            ("Content-Length: 9999999999999999999999\r\n", Err(Violation::ContentLength)),
            ("Content_Length: 5\r\n", Err(Violation::ContentLength)),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(Violation::TwoLengths)),
            ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", Err(Violation::TwoLengths)),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(Violation::TransferEncoding)),
            ("Transfer-Encoding: gzip, chunked\r\n", Err(Violation::TransferEncoding)),
            ("Transfer-Encoding: chunked, identity\r\n", Err(Violation::TransferEncoding)),
            ("Transfer-Encoding: identity\r\n", Err(Violation::TransferEncoding)),
            ("Transfer-Encoding: xchunked\r\n", Err(Violation::TransferEncoding)),
            ("Transfer-Encoding: \"chunked\"\r\n", Err(Violation::TransferEncoding)),
            ("Transfer-Encoding: chunked;q=1\r\n", Err(Violation::TransferEncoding)),
            ("Transfer-Encoding:\u{b}chunked\r\n", Err(Violation::FieldValue)),
            ("Transfer-Encoding:\r\n chunked\r\n", Err(Violation::TransferEncoding)),
            ("Transfer-Encoding : chunked\r\n", Err(Violation::FieldName)),
            (" Transfer-Encoding: chunked\r\n", Err(Violation::FoldedLine)),
            ("X: y\r\n Transfer-Encoding: chunked\r\n", Err(Violation::FoldedLine)),
            ("X: y\nTransfer-Encoding: chunked\r\n", Err(Violation::BareLineEnd)),
            ("X: y\rTransfer-Encoding: chunked\r\n", Err(Violation::FieldValue)),
            ("X: y\r\r\nA: b\r\n", Err(Violation::FieldValue)),
            ("Transfer\u{0}-Encoding: chunked\r\n", Err(Violation::FieldName)),
            ("Transfer_Encoding: chunked\r\n", Err(Violation::TransferEncoding)),
            ("Upgrade: websocket\r\n", Ok(Body::Opaque)),
            ("Upgrade: h2c, WebSocket/13\r\n", Ok(Body::Opaque)),
            ("Upgrade: TLS/1.2\r\nContent-Length: 5\r\n", Ok(Body::Length(5))),
        ] {
            assert_eq!(fields(text), body, "{text:?}");
        }
        let old = |field: &str| judge(&format!("POST / HTTP/1.0\r\n{field}\r\n\r\n"));
        assert_eq!(old("Transfer-Encoding: chunked"), Err(Violation::TransferEncoding));
        assert_eq!(old("Content-Length: 3"), Ok(Body::Length(3)));
    }

    // covers: H07
    #[test]
    fn a_request_line_has_three_parts() {
        for (line, verdict) in [
            ("GET / HTTP/1.1", Ok(Body::Length(0))),
            ("M-SEARCH * HTTP/1.1", Ok(Body::Length(0))),
            ("CONNECT a.test:443 HTTP/1.1", Ok(Body::Opaque)),
            ("GET /", Err(Violation::RequestLine)),
            ("GET  / HTTP/1.1", Err(Violation::RequestLine)),
            ("GET / HTTP/1.1 ", Err(Violation::RequestLine)),
            (" GET / HTTP/1.1", Err(Violation::RequestLine)),
            ("GET /a b HTTP/1.1", Err(Violation::RequestLine)),
            ("GET\t/ HTTP/1.1", Err(Violation::RequestLine)),
            ("get / HTTP/1.1", Err(Violation::MethodCase)),
            ("Get / HTTP/1.1", Err(Violation::MethodCase)),
            ("G\u{0}T / HTTP/1.1", Err(Violation::Method)),
            ("! /0 HTTP/1.1", Err(Violation::Method)),
            ("GET /\u{7f} HTTP/1.1", Err(Violation::Target)),
            ("GET /é HTTP/1.1", Ok(Body::Length(0))),
            ("GET /#x HTTP/1.1", Err(Violation::Target)),
            ("GET /?\" HTTP/1.1", Err(Violation::Target)),
            // Browsers do not escape these in a query (WHATWG URL, "query percent-encode set").
            ("GET /?a=^`{|} HTTP/1.1", Ok(Body::Length(0))),
            ("GET https://a.test/?a=^`{|} HTTP/1.1", Ok(Body::Length(0))),
            ("GET / HTTP/1.2", Err(Violation::Version)),
            ("GET / HTTP/0.9", Err(Violation::Version)),
            ("GET / HTTP/2.0", Err(Violation::Version)),
            ("GET / http/1.1", Err(Violation::Version)),
            ("GET / HTTP/1.1\rX", Err(Violation::Version)),
            ("", Err(Violation::RequestLine)),
        ] {
            assert_eq!(judge(&format!("{line}\r\nHost: a.test\r\n\r\n")), verdict, "{line:?}");
        }
    }

    // covers: H03 H07
    #[test]
    fn there_is_one_host_and_not_too_many_fields() {
        assert_eq!(judge("GET / HTTP/1.1\r\n\r\n"), Err(Violation::Host));
        assert_eq!(judge("GET / HTTP/1.1\r\nHost: a\r\nhOST: a\r\n\r\n"), Err(Violation::Host));
        assert_eq!(judge("GET / HTTP/1.0\r\n\r\n"), Ok(Body::Length(0)));
        assert_eq!(judge("CONNECT a:443 HTTP/1.1\r\n\r\n"), Ok(Body::Opaque));
        assert_eq!(judge("CONNECT a:443 HTTP/1.1\r\nContent-Length: 3\r\n\r\n"), Err(Violation::ConnectBody));
        assert_eq!(fields(&"X: y\r\n".repeat(7)), Ok(Body::Length(0)));
        assert_eq!(fields(&"X: y\r\n".repeat(8)), Err(Violation::TooManyFields));
        assert_eq!(fields(": y\r\n"), Err(Violation::FieldName));
        assert_eq!(fields("X\r\n"), Err(Violation::FieldName));
        assert_eq!(fields("X é: y\r\n"), Err(Violation::FieldName));
    }

    #[test]
    fn a_head_is_found_whole_however_it_arrives() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        let mut searched = 0;
        for length in 0..27 {
            assert_eq!(end(&head[..length], &mut searched), Ok(None), "{length}");
        }
        assert_eq!(end(head, &mut searched), Ok(Some(27)));
        assert_eq!(end(b"\r\nGET / HTTP/1.1\r\n\r\n", &mut 0), Err(Violation::RequestLine));
        assert_eq!(end(b"GET / HTTP/1.1\n", &mut 0), Err(Violation::BareLineEnd));
    }
}
