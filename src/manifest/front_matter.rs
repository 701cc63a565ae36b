//! Splits a manifest into its front matter and its body.

use crate::yaml::Problem;

/// The two parts of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The YAML after the opening `---`, so that line numbers match the file.
    pub yaml: String,
    /// The Markdown after it, trimmed.
    pub body: String,
}

const SHAPE: &str = "a manifest starts with a line `---`, then YAML, then a line `---`, then Markdown";

/// Decodes and splits a manifest: UTF-8 with or without a byte order mark, lines with LF or CRLF, and no control characters
/// except tabs, so that a terminal, a YAML parser and an editor see the same lines.
pub fn split(bytes: &[u8]) -> Result<Document, Problem> {
    let text = decode(bytes)?;
    let opening = text.split_inclusive('\n').next().unwrap_or_default();
    if opening.trim_end() != "---" {
        return Err(Problem::at(1, 1, "no front matter", SHAPE));
    }
    let mut at = opening.len();
    for (line, number) in text[at..].split_inclusive('\n').zip(2..) {
        match line.trim_end() {
            "---" => {
                return Ok(Document {
                    yaml: format!("---\n{}", &text[opening.len()..at]),
                    body: text[at + line.len()..].trim().to_owned(),
                });
            }
            // A YAML parser may ignore text after the end of a document.
            "..." => return Err(Problem::at(number, 1, "the YAML document ends before the front matter", SHAPE)),
            _ => at += line.len(),
        }
    }
    Err(Problem::at(1, 1, "the front matter is not closed", SHAPE))
}

fn decode(bytes: &[u8]) -> Result<String, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        // The bytes before the error are valid.
        let (line, column) = place(&String::from_utf8_lossy(&bytes[..error.valid_up_to()]));
        Problem::at(line, column, "not UTF-8", "save the file as UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    if let Some((at, c)) = text.char_indices().find(|(_, c)| c.is_control() && !matches!(c, '\n' | '\t')) {
        let (line, column) = place(&text[..at]);
        return Err(Problem::at(line, column, format!("a control character (U+{:04X})", u32::from(c)), "remove it"));
    }
    Ok(text)
}

/// The line and column after `before`.
fn place(before: &str) -> (u64, u64) {
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line as u64, column as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_text(text: &str) -> Result<(String, String), (u64, u64, String)> {
        split(text.as_bytes()).map(|d| (d.yaml, d.body)).map_err(|p| (p.line, p.column, p.what))
    }

    // covers: F19
    #[test]
    fn line_ends_and_a_byte_order_mark_do_not_matter() {
        let expected = Ok(("---\na: 1\n".to_owned(), "# Body\n\n--- not a fence".to_owned()));
        assert_eq!(split_text("---\na: 1\n---\n\n# Body\n\n--- not a fence\n"), expected);
        assert_eq!(split_text("\u{feff}---\r\na: 1\r\n---\r\n\r\n# Body\r\n\r\n--- not a fence\r\n"), expected);
        assert_eq!(split_text("--- \na: 1\n---\t\n# Body\n\n--- not a fence"), expected);
        assert_eq!(split_text("---\n---"), Ok(("---\n".into(), String::new())));
    }

    // covers: F19
    #[test]
    fn what_is_not_a_manifest_is_refused_with_its_place() {
        for (text, line, column, what) in [
            ("", 1, 1, "no front matter"),
            ("# Title\n---\n---\n", 1, 1, "no front matter"),
            ("\n---\na: 1\n---\n", 1, 1, "no front matter"),
            ("----\n----\n", 1, 1, "no front matter"),
            ("---\na: 1\n", 1, 1, "the front matter is not closed"),
            ("---\na: 1\n --- \n", 1, 1, "the front matter is not closed"),
            ("---\na: 1\n...\nb: [\n---\n", 3, 1, "the YAML document ends before the front matter"),
            ("---\na: \0\n---\n", 2, 4, "a control character (U+0000)"),
            ("---\na: 1\n---\né\u{1b}[2J", 4, 2, "a control character (U+001B)"),
            ("---\na: 1\rb: 2\n---\n", 2, 5, "a control character (U+000D)"),
            ("---\na: \u{85}\n---\n", 2, 4, "a control character (U+0085)"),
        ] {
            assert_eq!(split_text(text), Err((line, column, what.to_owned())), "{text:?}");
        }
        assert_eq!(split(b"---\na: \xff\n---\n"), Err(Problem::at(2, 4, "not UTF-8", "save the file as UTF-8")));
    }
}
