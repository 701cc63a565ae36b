//! Parses sizes and durations.

use std::time::Duration;

/// A size as a regular expression, for the JSON Schema.
pub const SIZE: &str = "^[0-9]+(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$";
/// A duration as a regular expression, for the JSON Schema.
pub const DURATION: &str = "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$";

/// The hint for a wrong size.
pub const SIZE_HINT: &str = "write digits and a unit: 512MiB, 4GiB, 100MB";
/// The hint for a wrong duration.
pub const DURATION_HINT: &str = "write digits and units, largest first: 2h, 30m, 90s, 1h30m";

/// The longest argument or variable of a program: Linux allows 128 KiB each (execve(2), `MAX_ARG_STRLEN`), and the rest is for
/// the name and for template values.
pub const MAX_ARGUMENT_BYTES: usize = 120 * 1024;
/// The hint for a longer one.
pub const ARGUMENT_HINT: &str = "an argument or variable has at most 120 KiB; put the rest in a file";

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

/// Bytes; `None` for anything but digits and one unit, for zero, and for overflow.
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

/// The leading digits and the rest.
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
