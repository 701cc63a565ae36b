//! JSON and what resembles it: comments, single quotes, several documents, invalid UTF-8 do not matter.

use super::View;
use crate::decode::escape::Escape;

/// All keys joined, and all string values joined, in their order; both of two equal keys count.
pub(super) fn views(body: &[u8]) -> [View; 2] {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(quote) = memchr::memchr(b'"', &body[at..]) {
        let start = at + quote + 1;
        let end = end_of_string(body, start);
        let behind = body[(end + 1).min(body.len())..].iter().find(|b| !b.is_ascii_whitespace());
        Escape::Backslash.decode(&body[start..end], if behind == Some(&b':') { &mut keys } else { &mut values });
        at = (end + 1).min(body.len());
    }
    [("json keys", keys), ("json values", values)]
}

/// Where the closing quote stands, or the end.
fn end_of_string(body: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &body[at..]) {
        at += found;
        if body[at] == b'"' {
            return at;
        }
        at = (at + 2).min(body.len());
    }
    body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_joined_apart() {
        let [keys, values] = views(br#"{"a":"x\"1","a" : ["\u0079",2,"z"],/* "c" */ "b":{"d":null,"e":"w"#);
        assert_eq!(String::from_utf8(keys.1).unwrap(), "aabde");
        assert_eq!(String::from_utf8(values.1).unwrap(), "x\"1yzcw");
    }
}
