//! The files of a `multipart/*` message, each scanned under its name, for rules that name paths.
//!
//! A part ends at a delimiter: the one of the message's type, or the first line that begins with two hyphens. Other
//! such lines belong to the file: PEM has them.

use std::sync::Arc;

use crate::engine::Engine;
use crate::finding::Finding;
use crate::paths::{self, PathKind};
use crate::stream::Stream;

/// The longest line that can be a delimiter or is read as a part's header.
const MAX_LINE: usize = 4 << 10;
/// Names of one part: receivers that find several take the first or the last.
const MAX_NAMES: usize = 4;

/// The reader of one message.
#[derive(Debug)]
pub(crate) struct Files {
    engine: Arc<Engine>,
    /// With their two hyphens.
    delimiters: Vec<Vec<u8>>,
    /// A line that begins with two hyphens was seen.
    saw_first: bool,
    /// The line under way, or its beginning.
    line: Vec<u8>,
    /// The line under way is too long to be a delimiter; what it began with has been scanned.
    is_long: bool,
    place: Place,
    verdict: Option<Finding>,
}

#[derive(Debug)]
enum Place {
    /// In a part's header, with the names that it has so far; before the first part too.
    Head(Names),
    /// In a part's content, with a scan for each of its names that a rule names.
    Content(Vec<Stream>),
}

#[derive(Debug, Default)]
struct Names {
    whole: Vec<String>,
    /// Joined from `filename*0="a"; filename*1="b"` (RFC 2231, section 3).
    joined: String,
}

impl Files {
    /// For a message of this type; none where no rule would ask for a name.
    pub(crate) fn of(engine: &Arc<Engine>, content_type: Option<&str>, first: u8) -> Option<Self> {
        let kind = content_type.unwrap_or_default();
        let is_multipart = kind.to_ascii_lowercase().contains("multipart") || first == b'-';
        (is_multipart && paths::has_rules(engine)).then(|| Self {
            engine: Arc::clone(engine),
            delimiters: parameters(kind.as_bytes(), b"boundary").map(|(_, value)| [b"--", &value[..]].concat()).take(1).collect(),
            saw_first: false,
            line: Vec::new(),
            is_long: false,
            place: Place::Head(Names::default()),
            verdict: None,
        })
    }

    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> Option<Finding> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.add(&bytes[..=end]);
            self.end_of_line();
            bytes = &bytes[end + 1..];
        }
        self.add(bytes);
        self.verdict.clone()
    }

    pub(crate) fn end(mut self) -> Option<Finding> {
        self.end_of_line();
        self.end_of_part();
        self.verdict
    }

    fn add(&mut self, bytes: &[u8]) {
        if !self.is_long && self.line.len() + bytes.len() > MAX_LINE {
            self.is_long = true;
            let line = std::mem::take(&mut self.line);
            self.scan(&line);
        }
        match self.is_long {
            true => self.scan(bytes),
            false => self.line.extend_from_slice(bytes),
        }
    }

    fn scan(&mut self, bytes: &[u8]) {
        let Place::Content(streams) = &mut self.place else { return };
        for stream in streams {
            let found = stream.push(bytes);
            self.verdict = self.verdict.take().or(found);
        }
    }

    fn end_of_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.is_long) {
            return;
        }
        if self.is_delimiter(&line) {
            self.end_of_part();
            return;
        }
        match &mut self.place {
            Place::Content(_) => self.scan(&line),
            Place::Head(names) if line.trim_ascii().is_empty() => {
                let named = names.all().filter(|name| PathKind::of(&self.engine, name).has_rules());
                self.place = Place::Content(named.map(|name| Stream::new(Arc::clone(&self.engine), Some(name))).collect());
            }
            Place::Head(names) => names.read(&line),
        }
    }

    /// The first line that could be a delimiter is taken for one.
    fn is_delimiter(&mut self, line: &[u8]) -> bool {
        let line = line.trim_ascii_end();
        if !line.starts_with(b"--") {
            return false;
        }
        if !std::mem::replace(&mut self.saw_first, true) {
            self.delimiters.push(line.to_vec());
        }
        self.delimiters.iter().any(|known| line.strip_prefix(&known[..]).is_some_and(|rest| matches!(rest, b"" | b"--")))
    }

    fn end_of_part(&mut self) {
        let place = std::mem::replace(&mut self.place, Place::Head(Names::default()));
        if let Place::Content(streams) = place {
            self.verdict = self.verdict.take().or_else(|| streams.into_iter().find_map(Stream::finish));
        }
    }
}

impl Names {
    fn read(&mut self, line: &[u8]) {
        for (mark, value) in parameters(line, b"filename") {
            let is_extended = mark.ends_with(b"*");
            let text = String::from_utf8_lossy(&if is_extended { extended(&value) } else { value }).into_owned();
            if mark.iter().any(u8::is_ascii_digit) {
                self.joined.push_str(&text);
            } else if self.whole.len() < MAX_NAMES {
                self.whole.push(text);
            } else {
                self.whole[MAX_NAMES - 1] = text;
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.whole.iter().map(String::as_str).chain(Some(self.joined.as_str()).filter(|name| !name.is_empty()))
    }
}

/// The values of a parameter in a field, each with what stands between its name and the sign, as `*` and `*0`.
fn parameters<'l>(line: &'l [u8], name: &'static [u8]) -> impl Iterator<Item = (&'l [u8], Vec<u8>)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        loop {
            let at = rest.windows(name.len()).position(|word| word.eq_ignore_ascii_case(name))?;
            rest = &rest[at + name.len()..];
            let marks = rest.iter().take_while(|b| **b == b'*' || b.is_ascii_digit()).count();
            let (mark, after) = rest.split_at(marks);
            if let Some(text) = after.trim_ascii_start().strip_prefix(b"=") {
                return Some((mark, value(text.trim_ascii_start())));
            }
        }
    })
}

/// A quoted string or a token (RFC 9110, section 5.6.6).
fn value(text: &[u8]) -> Vec<u8> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|b| *b == b';' || b.is_ascii_whitespace()).unwrap_or(text.len());
        return text[..end].to_vec();
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => break,
            b'\\' => value.extend(bytes.next()),
            _ => value.push(*byte),
        }
    }
    value
}

/// `UTF-8''a%20b` (RFC 8187).
fn extended(value: &[u8]) -> Vec<u8> {
    let text = value.splitn(3, |b| *b == b'\'').nth(2).unwrap_or(value);
    let digit = |at: usize| text.get(at).and_then(|b| char::from(*b).to_digit(16));
    let (mut out, mut at) = (Vec::new(), 0);
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::{Fingerprints, Rules, Scanner};

    const RULES: &str = "[[rules]]\nid = 'key-file'\npath = '\\.key$'\n\
                         [[rules]]\nid = 'deploy-number'\npath = '^deploy/'\nregex = '[0-9]{6}'\n";

    /// The rule that fires on a message, however it is cut.
    fn found(content_type: &str, body: &str) -> Option<String> {
        let rules = Rules::built_in().unwrap().beside(Rules::from_toml(RULES).unwrap());
        let scanner = Scanner::with_rules(rules, Fingerprints::default()).unwrap();
        let whole = scanner.scan_message(Some(content_type), body.as_bytes());
        for size in [1, 7, 4096] {
            let mut message = scanner.message(Some(content_type));
            let early = body.as_bytes().chunks(size).find_map(|chunk| message.push(chunk));
            assert_eq!(early.or_else(|| message.finish()), whole, "in chunks of {size}");
        }
        assert!(whole.as_ref().is_none_or(|finding| finding.view() == Some(super::super::VIEWS[6])));
        whole.map(|finding| finding.rule)
    }

    fn part(disposition: &str, content: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; name=\"f\"; {disposition}\r\nContent-Type: x/y\r\n\r\n{content}\r\n--b--\r\n")
    }

    #[test]
    fn a_file_is_scanned_under_each_of_its_names() {
        const FORM: &str = "multipart/form-data; boundary=b";
        for disposition in [
            "filename=\"server.key\"",
            "filename=server.key",
            "FileName = \"a\\\"b.key\"",
            "filename*=UTF-8''server%2Ekey",
            "filename=\"a.txt\"; filename*=UTF-8''server.key",
            "filename*0=\"server\"; filename*1=\".key\"",
            "filename=1; filename=2; filename=3; filename=4; filename=5; filename=a.key",
        ] {
            assert_eq!(found(FORM, &part(disposition, "anything")).as_deref(), Some("key-file"), "{disposition}");
            assert_eq!(found("text/plain", &part(disposition, "anything")).as_deref(), Some("key-file"), "{disposition}, as plain text");
        }
        for disposition in ["filename=\"server.keys\"", "x=\"server.key\"", "filename"] {
            assert_eq!(found(FORM, &part(disposition, "anything")), None, "{disposition}");
        }
        let deploy = |content: &str| found(FORM, &part("filename=\"deploy/a\"", content));
        assert_eq!(deploy("number 123456").as_deref(), Some("deploy-number"));
        assert_eq!(deploy("-----BEGIN X-----\n--b-\n123456\n").as_deref(), Some("deploy-number"), "a line of hyphens is part of the file");
        assert_eq!(deploy(&format!("{} 123456", "x".repeat(10_000))).as_deref(), Some("deploy-number"), "a long line");
        assert_eq!(deploy("12345"), None);
        let two = format!("{}{}", part("filename=\"deploy/a\"", "12345"), part("filename=\"b\"", "123456"));
        assert_eq!(found(FORM, &two), None, "a number in another file");
    }
}
