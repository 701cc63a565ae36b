//! The name of one bottle, which is also the name of its directories, containers and networks.

use std::fmt;
use std::str::FromStr;

use bottle_contract::Untrusted;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The most characters of an id: a DNS label, less what backends put around it.
const MAX_LENGTH: usize = 41;

/// `[a-z][a-z0-9-]{0,40}`: nothing that a shell, a path, a container engine or a terminal could take for something else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The `n`-th id of this name: `web`, `web-2`, `web-3`; a long name is cut to leave room for the number.
    pub fn numbered(&self, n: u64) -> Self {
        if n < 2 {
            return self.clone();
        }
        let suffix = format!("-{n}");
        let kept = self.0.len().min(MAX_LENGTH - suffix.len());
        Self(format!("{}{suffix}", &self.0[..kept]))
    }

    fn fits(text: &str) -> bool {
        let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        text.len() <= MAX_LENGTH && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(rest)
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if Self::fits(text) {
            return Ok(Self(text.to_owned()));
        }
        let what = format!("`{}` is not a bottle's name", Untrusted::new(text));
        Err(Error::usage(
            what,
            "a name is a letter, then up to 40 letters, digits and `-`, all lower case",
            "choose a name like `web` or `review-2`",
        ))
    }
}

impl TryFrom<String> for Id {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: X04
    #[test]
    fn hostile_names_are_refused() {
        let long = "a".repeat(42);
        let hostile = [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "-rf",
            "--help",
            "a\n",
            "a\0",
            "\u{1b}[2J",
            "ä",
            "$(id)",
            "Web",
            "WEB",
            "1a",
            "a_b",
            "a b",
            "a.b",
            &long,
        ];
        for name in hostile {
            let error = name.parse::<Id>().unwrap_err();
            assert_eq!(error.code, crate::error::USAGE, "{name:?}");
            assert!(!error.to_string().contains('\u{1b}'));
        }
        for name in ["a", "web", "web-2", "a--", &long[1..]] {
            assert_eq!(name.parse::<Id>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_number_fits_even_behind_the_longest_name() {
        let id: Id = "a".repeat(41).parse().unwrap();
        assert_eq!(id.numbered(1), id);
        assert_eq!(id.numbered(12).as_str(), format!("{}-12", "a".repeat(38)));
        assert_eq!("web".parse::<Id>().unwrap().numbered(2).as_str(), "web-2");
    }
}
