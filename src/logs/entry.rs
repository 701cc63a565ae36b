//! An event as the line that it is: checked, and copied as it stands to wherever it is kept.

use std::borrow::Cow;
use std::fmt;

use bottle_contract::event::Event;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::line::{harmless, is_plain};

/// The JSON of one event: an object with the members of [`Event`] and no others, without a control character, harmless on a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'l>(Cow<'l, str>);

impl<'l> Entry<'l> {
    /// The event that a line is, if it is one and its text can stand in a file of lines as it is.
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
        Some(Self(if plain { Cow::Borrowed(text) } else { harmless(text) }))
    }

    /// The line, without its newline.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is checked to be one, and not kept.
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
