//! Sizes and durations as manifests write them.

use std::time::Duration;

/// A size in a regular expression, for the JSON Schema.
pub const SIZE: &str = "^[0-9]+(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$";
/// A duration in a regular expression, for the JSON Schema.
pub const DURATION: &str = "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$";

/// What a size looks like, for hints.
pub const SIZE_HINT: &str = "write digits and a unit: 512MiB, 4GiB, 100MB";
/// What a duration looks like, for hints.
pub const DURATION_HINT: &str = "write digits and units, largest first: 2h, 30m, 90s, 1h30m";

/// The longest text that can reach a program as an argument or a variable, in bytes: Linux allows 128 KiB for each
/// (execve(2), `MAX_ARG_STRLEN`); the rest is for the name and for what a template adds.
pub const ARGUMENT: usize = 120 * 1024;
/// What to do about a longer one.
pub const ARGUMENT_HINT: &str = "a program can be given at most 120 KiB in one piece; put the rest in a file";

/// Units by their factor: powers of 1000 (SI) and of 1024 (IEC 80000-13).
const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1000 * 1000),
    ("GB", 1000 * 1000 * 1000),
    ("TB", 1000 * 1000 * 1000 * 1000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Bytes; `None` for anything that is not digits and one unit, for zero, and for more than fits.
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = number(text)?;
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor).filter(|bytes| *bytes > 0)
}

/// Hours, minutes and seconds, each at most once and in this order; `None` for anything else, and for zero.
pub fn duration(text: &str) -> Option<Duration> {
    let mut units = [('h', 3600), ('m', 60), ('s', 1)].into_iter();
    let mut seconds = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let (amount, behind) = number(rest)?;
        let unit = behind.chars().next()?;
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        seconds = seconds.checked_add(amount.checked_mul(factor)?)?;
        rest = &behind[1..];
    }
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// The digits in front and what is behind them.
fn number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_digits_and_a_unit() {
        for (text, bytes) in [("4GiB", 4 << 30), ("512MiB", 512 << 20), ("100MB", 100_000_000), ("1kB", 1000), ("7B", 7), ("2TiB", 2 << 40)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "4",
            "GiB",
            "4G",
            "4gib",
            "4 GiB",
            " 4GiB",
            "4GiB ",
            "-4GiB",
            "+4GiB",
            "4.5GiB",
            "4_0GiB",
            "0GiB",
            "0x4B",
            "４GiB",
            "99999999999999999999B",
            "18446744073709551615TiB",
            "4KB",
            "1e3MB",
        ] {
            assert_eq!(size(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_duration_is_hours_minutes_seconds_in_this_order() {
        for (text, seconds) in [("2h", 7200), ("30m", 1800), ("90s", 90), ("1h30m", 5400), ("1h0m5s", 3605), ("0h1s", 1)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "2",
            "h",
            "0s",
            "2 h",
            "1h 30m",
            "30m1h",
            "1h1h",
            "1d",
            "-1s",
            "1.5h",
            "2H",
            "5124095576030432h",
            "18446744073709551615s1s",
            "1é",
        ] {
            assert_eq!(duration(text), None, "{text:?}");
        }
    }
}
