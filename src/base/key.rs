//! The grammar of names: of agents and bottles (a manifest's file name without `.md`), and of the ids of running bottles.

/// The most characters of a name: those of a DNS label, minus what backends add.
pub const MAX_LENGTH: usize = 41;

/// The grammar in a sentence.
pub const GRAMMAR: &str = "a name is a lower-case letter, then up to 40 lower-case letters, digits or hyphens";

/// The grammar as a regular expression, for the JSON Schema.
pub const PATTERN: &str = "^[a-z][a-z0-9-]{0,40}$";

/// True when `name` is valid. Then it is also safe as a path component, a DNS label and an argument.
pub fn is_valid(name: &str) -> bool {
    name.len() <= MAX_LENGTH
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: X04
    #[test]
    fn a_hostile_name_is_no_key() {
        let long = "a".repeat(42);
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "-rf",
            "--help",
            "a\n",
            "a\nb",
            "a\0",
            "\u{1b}[2J",
            "é",
            "аdev",
            "$(id)",
            "Dev",
            "DEV",
            "a_b",
            "a.b",
            "1a",
            "a b",
            long.as_str(),
        ] {
            assert!(!is_valid(name), "{name:?}");
        }
        for name in ["a", "dev", "a-1", "claude-4", &"a".repeat(41)] {
            assert!(is_valid(name), "{name:?}");
        }
    }
}
