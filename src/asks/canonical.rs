//! JSON in one form, so that equal values have equal digests: sorted keys, no spaces (RFC 8785; its numbers are not needed here).

use serde_json::Value;

use crate::digest::sha256_hex;

/// The digest of a value's canonical form, in hexadecimal digits.
pub(super) fn digest(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    sha256_hex(text.as_bytes())
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
            text.push('{');
            for (index, (name, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(value, text);
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_keys_does_not_count_and_everything_else_does() {
        let mut text = String::new();
        write(&json!({"b": [1, "x\n", null], "a": {"d": true, "c": "é"}}), &mut text);
        assert_eq!(text, r#"{"a":{"c":"é","d":true},"b":[1,"x\n",null]}"#);
        assert_ne!(digest(&json!({"a": "1"})), digest(&json!({"a": 1})));
        assert_ne!(digest(&json!(["a", "b"])), digest(&json!(["b", "a"])));
    }
}
