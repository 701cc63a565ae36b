//! An event as its own line: checked once, and copied unchanged.

use std::borrow::Cow;
use std::fmt;

use bottle_contract::event::Event;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::line::{escape_for_terminal, is_plain};

/// The JSON of one event: an object with members of [`Event`] only, without control characters, safe for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'l>(Cow<'l, str>);

impl<'l> Entry<'l> {
    /// Parses a line. None if it is not an event, or cannot be copied unchanged.
    pub fn read(line: &'l [u8]) -> Option<Self> {
        if line.first() != Some(&b'{') || line.last() != Some(&b'}') {
            return None;
        }
        let plain = is_plain(line);
        if !plain && line.iter().any(|&b| b < 0x20) {
            return None;
        }
        let text = std::str::from_utf8(line).ok()?;
        serde_json::from_str::<Event<Skipped>>(text).ok()?;
        Some(Self(if plain { Cow::Borrowed(text) } else { escape_for_terminal(text) }))
    }

    /// The line, without its newline.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A string that is validated but not stored.
#[derive(Default)]
struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Skipped;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Skipped, E> {
                Ok(Skipped)
            }
        }
        deserializer.deserialize_str(Text)
    }
}
