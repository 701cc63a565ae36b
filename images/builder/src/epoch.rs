//! The one moment that an image knows: `SOURCE_DATE_EPOCH`, or the beginning of 1970.

use std::ffi::OsStr;

use bottle_contract::event::rfc3339;

use bottle_base::error::{Error, Result};

/// The variable that says when the sources were last changed (reproducible-builds.org, "SOURCE_DATE_EPOCH"). No other part of the
/// environment has a say in an image.
pub const VARIABLE: &str = "SOURCE_DATE_EPOCH";
/// The last second that a tar header can hold: eleven octal digits.
const LAST: u64 = 0o77_777_777_777;

/// Seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(u64);

impl Epoch {
    /// What the variable says; without it, 1970. Anything but a plain number is refused: a build that silently took another moment would
    /// have another digest, and nobody would know why.
    pub fn parse(value: Option<&OsStr>) -> Result<Self> {
        let Some(value) = value else { return Ok(Self(0)) };
        let text = value.to_str().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
        let seconds = text.and_then(|text| text.parse().ok()).filter(|seconds| *seconds <= LAST);
        seconds.map(Self).ok_or_else(|| {
            let shown = bottle_contract::Untrusted::new(value.as_encoded_bytes());
            Error::usage(
                format!("{VARIABLE} is `{shown}`"),
                format!("it is not a whole number of seconds from 0 to {LAST}"),
                format!("`unset {VARIABLE}`, or set it to the seconds since 1970, as `git log -1 --format=%ct` prints them"),
            )
        })
    }

    /// Seconds since 1970.
    pub fn seconds(self) -> u64 {
        self.0
    }

    /// The moment as RFC 3339 in UTC.
    pub fn text(self) -> String {
        rfc3339(self.0, 0).replace(".000Z", "Z")
    }
}
