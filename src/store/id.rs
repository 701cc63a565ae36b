//! The id of a bottle: also the name of its directories, containers and networks.

use std::fmt;
use std::str::FromStr;

use bottle_contract::Untrusted;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::manifest::key;

/// A name in the grammar of [`key`], which no shell, path, container engine or terminal reads as anything else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The `n`-th id of this name: `web`, `web-2`, `web-3`. A long name is shortened to make room for the number.
    pub fn numbered(&self, n: u64) -> Self {
        if n < 2 {
            return self.clone();
        }
        let suffix = format!("-{n}");
        let length = self.0.len().min(key::MAX_LENGTH - suffix.len());
        Self(format!("{}{suffix}", &self.0[..length]))
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if key::is_valid(text) {
            return Ok(Self(text.to_owned()));
        }
        let what = format!("`{}` is not a bottle's name", Untrusted::new(text));
        Err(Error::usage(what, key::GRAMMAR, "choose a name like `web` or `review-2`"))
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
