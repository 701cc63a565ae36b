//! Records as JSON lines that are safe for a terminal.

use std::borrow::Cow;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bottle_contract::untrusted::is_hostile;
use serde::Serialize;

/// Bytes that are not an event, encoded without loss.
///
/// To restore a stream, concatenate the bytes of its records, with a newline after each that has neither `more` nor `unterminated`. A
/// terminal's stream has chunks instead of lines, and no newlines are added.
#[derive(Serialize)]
pub(super) struct Wrapped<'a> {
    pub(super) time: &'a str,
    pub(super) component: &'a str,
    pub(super) stream: &'a str,
    /// The bytes, if they are UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'a str>,
    /// The bytes in base64, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) base64: Option<String>,
    /// The number of this part of a line that is too long for one record.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) part: u64,
    /// The line continues in the next record of this stream.
    #[serde(skip_serializing_if = "is_false")]
    pub(super) more: bool,
    /// The stream ended without a newline.
    #[serde(skip_serializing_if = "is_false")]
    pub(super) unterminated: bool,
}

/// Marks a gap.
#[derive(Serialize)]
pub(super) struct Gap<'a> {
    pub(super) time: &'a str,
    pub(super) component: &'a str,
    pub(super) stream: &'a str,
    /// The number of bytes dropped.
    pub(super) dropped: u64,
    /// Why.
    pub(super) cause: &'a str,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// The bytes as text or as base64.
pub(super) fn lossless(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// True for printable ASCII only, as most lines are.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    // No early exit, so that it is vectorised.
    bytes.iter().fold(true, |plain, &byte| plain & (b' '..0x7f).contains(&byte))
}

/// Escapes each character that a terminal would act on. JSON has characters beyond ASCII in strings only, so the meaning stays the same.
pub fn escape_for_terminal(json: &str) -> Cow<'_, str> {
    if is_plain(json.as_bytes()) || !json.chars().any(|c| c >= '\u{7f}' && is_hostile(c)) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if c < '\u{7f}' || !is_hostile(c) {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_escaped_without_a_change_of_meaning() {
        let text = "grün \u{9b}31m \u{202e}x \u{7f} \u{e0041} e\u{301}\n";
        let json = serde_json::to_string(text).unwrap();
        assert_eq!(escape_for_terminal(&json), r#""grün \u009b31m \u202ex \u007f \udb40\udc41 e\u0301\n""#);
        assert_eq!(serde_json::from_str::<String>(&escape_for_terminal(&json)).unwrap(), text);
        assert!(matches!(escape_for_terminal("{\"a\":\"日本\"}"), Cow::Borrowed(_)));
    }
}
