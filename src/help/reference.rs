//! Generates the reference of a manifest's keys from the JSON Schema of `bottle schema`. No key is named here.

use std::fmt::Write;

use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// A heading and a table per mapping, as Markdown.
pub(super) fn keys(schema: &Value) -> String {
    let mut out = String::new();
    let mut ahead = vec![(String::new(), schema)];
    while let Some((path, at)) = ahead.pop() {
        let Some(properties) = at.get("properties").and_then(Value::as_object) else { continue };
        if !path.is_empty() {
            let _ = writeln!(out, "### {path}\n\n{}\n", text(at));
        }
        out.push_str("| key | meaning |\n|---|---|\n");
        let required: Vec<&str> = at.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let mut inner = Vec::new();
        // Sorted, independent of the JSON library's features.
        let properties: std::collections::BTreeMap<_, _> = properties.iter().collect();
        for (name, written) in properties {
            let value = resolved(written, schema);
            let _ = writeln!(out, "| `{name}` | {} |", cell(written, value, schema, required.contains(&name.as_str())));
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match item(value, schema) {
                Some(item) => inner.push((format!("{path}[]"), item)),
                None => inner.push((path, value)),
            }
        }
        out.push('\n');
        // The last one is popped next.
        ahead.extend(inner.into_iter().rev());
    }
    out
}

/// A key's meaning, whether it is required, and its values.
fn cell(written: &Value, value: &Value, schema: &Value, required: bool) -> String {
    let mut sentences = vec![text(written)];
    if sentences[0].is_empty() {
        sentences[0] = text(value);
    }
    sentences.push(format!("{}.", kind(value, schema)));
    let choices: Vec<String> = choices(value).iter().map(|(choice, meaning)| format!("`{choice}`: {meaning}")).collect();
    if !choices.is_empty() {
        sentences.push(choices.join(" "));
    }
    if required {
        sentences.push("Required.".to_owned());
    }
    if let Some(default) = written.get("default") {
        sentences.push(format!("Default: `{default}`."));
    }
    if let Some(least) = value.get("minimum") {
        sentences.push(format!("At least {least}."));
    }
    sentences.retain(|word| !word.is_empty());
    sentences.join(" ").replace('|', "\\|")
}

/// The description, on one line.
fn text(value: &Value) -> String {
    value.get("description").and_then(Value::as_str).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Resolves `$ref`.
fn resolved<'a>(value: &'a Value, schema: &'a Value) -> &'a Value {
    let pointer = value.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| schema.pointer(pointer)).unwrap_or(value)
}

/// The items of a list.
fn item<'a>(value: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    value.get("items").map(|items| resolved(items, schema))
}

fn kind(value: &Value, schema: &Value) -> String {
    if let Some(item) = item(value, schema) {
        return format!("A list: {}", kind(item, schema).to_lowercase());
    }
    let object = |value: &Object| value.contains_key("properties");
    match value.get("type").and_then(Value::as_str) {
        Some("string") if value.get("enum").is_some() => "One of these".to_owned(),
        Some("string") => "Text".to_owned(),
        Some("integer" | "number") => "A number".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("object") if value.as_object().is_some_and(object) => "A mapping, see below".to_owned(),
        Some("object") => "A mapping of names to texts".to_owned(),
        _ => "One of these".to_owned(),
    }
}

/// The values of an enumeration, and their meanings.
fn choices(value: &Value) -> Vec<(String, String)> {
    let one = |choice: &Value| {
        let word = choice.get("const").and_then(Value::as_str).map(str::to_owned);
        let mapping = || {
            let (key, value) = choice.get("properties")?.as_object()?.iter().next()?;
            Some(format!("{{ {key}: {} }}", value.get("type").and_then(Value::as_str).unwrap_or("…")))
        };
        Some((word.or_else(mapping)?, text(choice)))
    };
    value.get("oneOf").and_then(Value::as_array).into_iter().flatten().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_of_a_schema_stands_in_it_with_its_kind_and_whether_it_is_required() {
        let schema = serde_json::json!({
            "properties": {
                "name": { "type": "string", "description": "Its\nname." },
                "list": { "type": "array", "description": "Those.", "items": { "$ref": "#/$defs/Item" } },
                "mode": { "description": "How.", "oneOf": [{ "const": "a", "description": "One." }, { "const": "b", "description": "Two." }] }
            },
            "required": ["name"],
            "$defs": { "Item": { "type": "object", "description": "An item.", "properties": {
                "count": { "type": "integer", "minimum": 1, "default": 2, "description": "So many | more." } } } }
        });
        assert_eq!(
            keys(&schema),
            "| key | meaning |\n|---|---|\n\
             | `list` | Those. A list: a mapping, see below. |\n\
             | `mode` | How. One of these. `a`: One. `b`: Two. |\n\
             | `name` | Its name. Text. Required. |\n\n\
             ### list[]\n\nAn item.\n\n| key | meaning |\n|---|---|\n\
             | `count` | So many \\| more. A number. Default: `2`. At least 1. |\n\n"
        );
    }
}
