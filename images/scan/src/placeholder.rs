//! What stands in a message where a value was taken out: as many bytes, plain in JSON, and recognisable wherever it turns up again.
//!
//! `[bottle-redacted***]`, or `[bottle***]` where that is too long. It says nothing but the value's length.

/// The fewest bytes of a placeholder.
pub(crate) const MIN_LEN: usize = SHORT.len() + 2;

const LONG: &[u8] = b"[bottle-redacted";
const SHORT: &[u8] = b"[bottle";

/// Writes one over all of `value`, which has at least [`MIN_LEN`] bytes.
pub(crate) fn write(value: &mut [u8]) {
    let head = if value.len() > LONG.len() { LONG } else { SHORT };
    value.fill(b'*');
    value[..head.len()].copy_from_slice(head);
    value[value.len() - 1] = b']';
}

/// True when `text` contains a placeholder: a model may have written one back into a file.
pub fn stands_in(text: &[u8]) -> bool {
    memchr::memmem::find_iter(text, SHORT).any(|at| {
        let rest = &text[at..];
        rest.starts_with(LONG) || rest.get(SHORT.len()) == Some(&b'*')
    })
}

/// True when `value` is a part of a placeholder and nothing else, which is no secret whatever an expression makes of it.
pub(crate) fn is_part_of_one(value: &[u8]) -> bool {
    let is_end = |rest: &[u8]| rest.strip_suffix(b"]").unwrap_or(rest).iter().all(|byte| *byte == b'*');
    let is_part = |head: &[u8]| {
        let begins = (0..=head.len()).any(|skipped| value.strip_prefix(&head[skipped..]).is_some_and(is_end));
        begins || head.windows(value.len().max(1)).any(|part| part == value)
    };
    !value.is_empty() && (is_part(LONG) || is_part(SHORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_has_the_length_of_the_value_and_is_known_again() {
        for length in MIN_LEN..60 {
            let mut value = vec![b'x'; length];
            write(&mut value);
            let text = String::from_utf8(value.clone()).unwrap();
            assert!(text.starts_with("[bottle") && text.ends_with(']') && !text.contains('x'), "{text}");
            assert!(serde_json::from_str::<String>(&format!("\"{text}\"")).is_ok(), "{text}");
            assert!(stands_in(&value) && stands_in(format!("key = {text}\n").as_bytes()), "{text}");
            for (start, end) in (0..length).flat_map(|start| (start + 1..=length).map(move |end| (start, end))) {
                assert!(is_part_of_one(&value[start..end]), "{text}, {start} to {end}");
            }
        }
        let mut value = *b"0123456789abcdefg";
        write(&mut value);
        assert_eq!(&value, b"[bottle-redacted]");
    }

    // covers: V04
    #[test]
    fn a_placeholder_excuses_nothing_that_stands_beside_it() {
        for value in
            ["", "[bottle-redacted**]x", "x[bottle-redacted**]", "[bottle*a*]", "[bottle-redacted**][bottle-redacted**]", "hunter2"]
        {
            assert!(!is_part_of_one(value.as_bytes()), "{value}");
        }
        for text in ["[bottle]", "the bottle is redacted", "[package]\nname = \"bottle-redacted\""] {
            assert!(!stands_in(text.as_bytes()), "{text}");
        }
    }
}
