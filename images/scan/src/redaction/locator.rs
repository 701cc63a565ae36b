//! Where in a JSON document a byte stands: in which string, and under which names (RFC 8259).
//!
//! Strict where it counts: a document that it cannot follow has no places. It reads a stream, and remembers no more than the names on the
//! way to the place where it is.

use std::fmt::Write;
use std::ops::Range;

use memchr::memchr2;

/// Deeper documents have no places.
const MAX_DEPTH: usize = 128;
/// A longer name is left out of a place.
const MAX_NAME: usize = 32;

/// The reader of one document.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locator {
    state: State,
    levels: Vec<Level>,
    read: u64,
}

#[derive(Clone, Debug)]
enum Level {
    /// With the beginning of the name of the member under way.
    Object(Vec<u8>),
    /// With the number of the item under way.
    Array(u64),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a value; behind a bracket an array may end as well.
    #[default]
    Value,
    FirstItem,
    /// Before a name; behind a brace an object may end as well.
    Name,
    FirstName,
    Colon,
    /// In a string: a member's name, or a value.
    Text {
        is_name: bool,
        unit: Unit,
    },
    /// In a number or a literal.
    Scalar,
    /// Behind a value.
    Behind,
    /// It is no JSON.
    Broken,
}

/// Where in a string the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Plain,
    /// Behind a backslash.
    Escape,
    /// In `\u0000`: how many digits are left, and what the others say.
    Digits(u8, u16),
    /// Behind the first half of a pair, which the second belongs to.
    HighHalf,
}

/// A part of one string, widened to whole characters and escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) range: Range<usize>,
    /// Where the string ends, if it ends in what was given.
    pub(crate) end_of_string: Option<usize>,
    /// `messages[3].content`; empty for a document that is a string.
    pub(crate) place: String,
}

impl Locator {
    /// Reads on.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == (State::Text { is_name: false, unit: Unit::Plain }) {
                let skipped = memchr2(b'"', b'\\', &bytes[at..]).unwrap_or(bytes.len() - at);
                self.read += skipped as u64;
                at += skipped;
            }
            if let Some(byte) = bytes.get(at) {
                self.step(*byte);
                at += 1;
            }
        }
    }

    /// The part of a string of `next`, which follows what was read, that holds all of `wanted`; none if that is not inside of one string that
    /// is a value.
    pub(crate) fn spot(&self, next: &[u8], wanted: &Range<usize>) -> Option<Spot> {
        let mut reader = self.clone();
        let (mut unit, mut spot) = (0, None);
        for (at, &byte) in next.iter().enumerate() {
            let starts_unit = reader.starts_unit(byte);
            if starts_unit {
                unit = at;
            }
            if at == wanted.start {
                spot = Some(Spot { range: unit..next.len(), end_of_string: None, place: reader.place() });
            }
            if let Some(spot) = &mut spot {
                let ends = reader.is_end(byte);
                if at >= wanted.end && (starts_unit || ends) && spot.range.end == next.len() {
                    spot.range.end = at;
                }
                if ends && at < wanted.end {
                    return None;
                }
                if ends {
                    spot.end_of_string = Some(at);
                    break;
                }
                if !reader.is_in_value() {
                    return None;
                }
            }
            reader.step(byte);
        }
        spot.filter(|spot| spot.range.end >= wanted.end && reader.state != State::Broken && reader.is_in_value())
    }

    /// The name of the place where it is.
    pub(crate) fn place(&self) -> String {
        let mut place = String::new();
        for level in &self.levels {
            // Writing to a String cannot fail.
            let _ = match level {
                Level::Array(number) => write!(place, "[{number}]"),
                Level::Object(name) => match plain(name) {
                    Some(name) if place.is_empty() => write!(place, "{name}"),
                    Some(name) => write!(place, ".{name}"),
                    None => write!(place, "[…]"),
                },
            };
        }
        place
    }

    /// True in a string that is a value.
    pub(crate) fn is_in_value(&self) -> bool {
        matches!(self.state, State::Text { is_name: false, .. })
    }

    fn starts_unit(&self, byte: u8) -> bool {
        match self.state {
            State::Text { unit: Unit::Plain, .. } => byte & 0xc0 != 0x80,
            State::Text { unit: Unit::HighHalf, .. } => byte != b'\\',
            _ => false,
        }
    }

    fn is_end(&self, byte: u8) -> bool {
        byte == b'"' && matches!(self.state, State::Text { unit: Unit::Plain | Unit::HighHalf, .. })
    }

    fn step(&mut self, byte: u8) {
        // A byte order mark in front of the document is none of it.
        let is_mark = self.read < 3 && matches!((self.read, byte), (0, 0xef) | (1, 0xbb) | (2, 0xbf));
        self.read += 1;
        let is_space = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.state = match self.state {
            State::Value if is_mark && self.levels.is_empty() => State::Value,
            State::Text { is_name, unit } => self.text(is_name, unit, byte),
            State::Scalar if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.') => State::Scalar,
            State::Scalar | State::Behind => self.behind(byte, is_space),
            state if is_space => state,
            State::FirstItem if byte == b']' => self.leave(),
            State::FirstName if byte == b'}' => self.leave(),
            State::Value | State::FirstItem => self.value(byte),
            State::Name | State::FirstName if byte == b'"' => {
                if let Some(Level::Object(name)) = self.levels.last_mut() {
                    name.clear();
                }
                State::Text { is_name: true, unit: Unit::Plain }
            }
            State::Colon if byte == b':' => State::Value,
            State::Name | State::FirstName | State::Colon | State::Broken => State::Broken,
        };
    }

    fn value(&mut self, byte: u8) -> State {
        let (level, state) = match byte {
            b'"' => return State::Text { is_name: false, unit: Unit::Plain },
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => return State::Scalar,
            b'{' => (Level::Object(Vec::new()), State::FirstName),
            b'[' => (Level::Array(0), State::FirstItem),
            _ => return State::Broken,
        };
        if self.levels.len() == MAX_DEPTH {
            return State::Broken;
        }
        self.levels.push(level);
        state
    }

    fn leave(&mut self) -> State {
        self.levels.pop();
        State::Behind
    }

    fn behind(&mut self, byte: u8, is_space: bool) -> State {
        match (byte, self.levels.last_mut()) {
            _ if is_space => State::Behind,
            (b',', Some(Level::Array(number))) => {
                *number += 1;
                State::Value
            }
            (b',', Some(Level::Object(_))) => State::Name,
            (b']', Some(Level::Array(_))) | (b'}', Some(Level::Object(_))) => self.leave(),
            _ => State::Broken,
        }
    }

    fn text(&mut self, is_name: bool, unit: Unit, byte: u8) -> State {
        if is_name
            && !self.is_end(byte)
            && let Some(Level::Object(name)) = self.levels.last_mut()
            && name.len() <= MAX_NAME
        {
            name.push(byte);
        }
        let unit = match (unit, byte) {
            (Unit::Plain | Unit::HighHalf, b'"') => return if is_name { State::Colon } else { State::Behind },
            (Unit::Plain | Unit::HighHalf, b'\\') => Unit::Escape,
            (Unit::Plain | Unit::HighHalf, _) => Unit::Plain,
            (Unit::Escape, b'u') => Unit::Digits(4, 0),
            (Unit::Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Unit::Plain,
            (Unit::Escape, _) => return State::Broken,
            (Unit::Digits(left, value), _) => match (char::from(byte).to_digit(16), left) {
                (None, _) => return State::Broken,
                (Some(digit), 1) if (0xd8..0xdc).contains(&((value << 4 | digit as u16) >> 8)) => Unit::HighHalf,
                (Some(_), 1) => Unit::Plain,
                (Some(digit), left) => Unit::Digits(left - 1, value << 4 | digit as u16),
            },
        };
        State::Text { is_name, unit }
    }
}

/// A name that a place can show as it is.
fn plain(name: &[u8]) -> Option<&str> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let fits = (1..=MAX_NAME).contains(&name.len()) && name.iter().all(is_plain);
    std::str::from_utf8(name).ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The spot of `wanted` in a document, whatever of it was read before.
    fn spot(document: &str, wanted: &str) -> Option<(String, String)> {
        let at = document.find(wanted).unwrap();
        let whole = Locator::default().spot(document.as_bytes(), &(at..at + wanted.len()));
        for read in 0..=at {
            let mut locator = Locator::default();
            locator.feed(&document.as_bytes()[..read]);
            let found = locator.spot(&document.as_bytes()[read..], &(at - read..at - read + wanted.len()));
            // Of an escape or a character that was cut, the part that was read is out of reach.
            let (found, whole) = (found.map(|s| (s.range.end + read, s.place)), whole.clone().map(|s| (s.range.end, s.place)));
            assert_eq!(found, whole, "{read} bytes were read");
        }
        whole.map(|spot| (spot.place, document[spot.range].to_owned()))
    }

    fn at(place: &str, text: &str) -> Option<(String, String)> {
        Some((place.to_owned(), text.to_owned()))
    }

    // covers: V04
    #[test]
    fn a_value_has_a_place_and_a_name_a_number_and_what_is_between_them_have_none() {
        let document = r#"{"model":"m","messages":[{"role":"user"},{"content":[{"text":"a SECRET b"}],"x y":{"k":"THIRD"}}],"n":[1,{},[],2.5e3,"LAST"]}"#;
        assert_eq!(spot(document, "SECRET"), at("messages[1].content[0].text", "SECRET"));
        assert_eq!(spot(document, "THIRD"), at("messages[1][…].k", "THIRD"));
        assert_eq!(spot(document, "LAST"), at("n[4]", "LAST"));
        assert_eq!(spot(r#""SECRET""#, "SECRET"), at("", "SECRET"));
        assert_eq!(spot("\u{feff} [\"SECRET\"] ", "SECRET"), at("[0]", "SECRET"));
        for (document, wanted) in [
            (r#"{"SECRET":1}"#, "SECRET"),
            (r#"{"a":123456}"#, "123456"),
            (r#"{"a":"one","b":"two"}"#, "one\",\"b\":\"two"),
            (r#"{"a" "SECRET"}"#, "SECRET"),
            (r#"{"a":'SECRET'}"#, "SECRET"),
            (r#"{"a":1} {"b":"SECRET"}"#, "SECRET"),
            (r#"{"a":1,/* "x": */"b":"SECRET"}"#, "SECRET"),
            (r#"["\q","SECRET"]"#, "SECRET"),
            ("a=SECRET", "SECRET"),
        ] {
            assert_eq!(spot(document, wanted), None, "{document}");
        }
    }

    #[test]
    fn a_part_of_a_character_or_an_escape_is_widened_to_all_of_it() {
        for (document, wanted, whole) in [
            (r#"["a\nSECRET\tb"]"#, r"nSECRET\", r"\nSECRET\t"),
            (r#"["a\u00e9SECRET"]"#, "e9SECRET", r"\u00e9SECRET"),
            (r#"["\ud83d\ude00SECRET\ud83d\ude00"]"#, r"00SECRET\ud8", r"\ud83d\ude00SECRET\ud83d\ude00"),
            (r#"["\\SECRET\\"]"#, r"\SECRET", r"\\SECRET"),
        ] {
            let at = document.find(wanted).unwrap();
            let spot = Locator::default().spot(document.as_bytes(), &(at..at + wanted.len())).unwrap();
            assert_eq!(&document[spot.range], whole, "{document}");
        }
        let text = "[\"äSECRETö\"]".as_bytes();
        let spot = Locator::default().spot(text, &(3..11)).unwrap();
        assert_eq!(&text[spot.range], "äSECRETö".as_bytes());
    }

    #[test]
    fn a_document_that_nests_too_deep_has_no_places() {
        let nested = |depth: usize| format!("{}\"SECRET\"", "[".repeat(depth));
        assert!(spot(&nested(MAX_DEPTH), "SECRET").is_some());
        assert!(spot(&nested(MAX_DEPTH + 1), "SECRET").is_none());
    }
}
