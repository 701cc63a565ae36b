//! Renders Markdown for a terminal: wrapped at words, with bold headings and names if colour is allowed.

use std::fmt::Write;

use super::markdown::{Block, Span, plain};

/// The width of a text, and whether it may contain escape sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns.
    pub width: usize,
    /// Bold and underline.
    pub colour: bool,
}

impl Style {
    /// The text in a colour, if colour is allowed.
    pub fn coloured(self, text: &str, colour: &str) -> String {
        styled(text, (colour, BOLD.1), self)
    }
}

const BOLD: (&str, &str) = ("\x1b[1m", "\x1b[0m");
const HEADING: (&str, &str) = ("\x1b[1m\x1b[4m", "\x1b[0m");
/// The maximum start of a table's second column. A longer name has its own line.
const SECOND_COLUMN: usize = 24;

/// Renders blocks.
pub fn show(blocks: &[Block], style: Style) -> String {
    let mut out = String::new();
    body(blocks, 0, style, &mut out);
    out
}

fn body(blocks: &[Block], indent: usize, style: Style, out: &mut String) {
    for (number, block) in blocks.iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        match block {
            Block::Heading(_, spans) => {
                let _ = writeln!(out, "{:indent$}{}", "", styled(&plain(spans), HEADING, style));
            }
            Block::Paragraph(spans) => wrapped(spans, "", indent, indent, style, out),
            Block::Code(_, text) => {
                for line in text.lines() {
                    let _ = writeln!(out, "{}", format!("{:1$}{line}", "", indent + 4).trim_end());
                }
            }
            Block::List(items) => items.iter().for_each(|item| self::item(item, indent, style, out)),
            Block::Rows(rows) => self::rows(rows, indent, style, out),
        }
    }
}

fn item(item: &[Block], indent: usize, style: Style, out: &mut String) {
    let (first, rest) = match item {
        [Block::Paragraph(spans), rest @ ..] => (spans.as_slice(), rest),
        rest => (&[][..], rest),
    };
    wrapped(first, "- ", indent, indent + 2, style, out);
    body(rest, indent + 2, style, out);
}

fn rows(rows: &[(Vec<Span>, Vec<Span>)], indent: usize, style: Style, out: &mut String) {
    let longest = rows.iter().map(|(name, _)| plain(name).chars().count()).filter(|length| *length + 2 <= SECOND_COLUMN).max();
    let second = indent + 2 + longest.unwrap_or(0) + 2;
    for (name, text) in rows {
        let length = plain(name).chars().count();
        let fits = indent + 2 + length + 2 <= second;
        let _ = write!(out, "{:1$}{2}", "", indent + 2, styled(&plain(name), BOLD, style));
        if !fits {
            out.push('\n');
        }
        let begun = if fits { indent + 2 + length } else { 0 };
        wrapped(text, &" ".repeat(second - begun), 0, second, style, out);
    }
}

fn styled(text: &str, (on, off): (&str, &str), style: Style) -> String {
    if style.colour { format!("{on}{text}{off}") } else { text.to_owned() }
}

/// Splits spans into words that must not be broken, with their widths.
fn words(spans: &[Span], style: Style) -> Vec<(usize, String)> {
    let mut words: Vec<(usize, String)> = Vec::new();
    let mut glued = false;
    for span in spans {
        let (text, bold) = match span {
            Span::Plain(text) => (text, false),
            // Without colour, code keeps its backticks.
            Span::Code(text) if !style.colour => (&format!("`{text}`"), false),
            Span::Bold(text) | Span::Code(text) => (text, true),
        };
        for (number, word) in text.split(' ').enumerate() {
            if number > 0 {
                glued = false;
            }
            if word.is_empty() {
                continue;
            }
            let shown = if bold { styled(word, BOLD, style) } else { word.to_owned() };
            match words.last_mut().filter(|_| glued) {
                Some((length, last)) => {
                    *length += word.chars().count();
                    last.push_str(&shown);
                }
                None => words.push((word.chars().count(), shown)),
            }
            glued = true;
        }
    }
    words
}

/// Writes a text after the current line's content. Further lines begin at column `indent`.
pub fn wrap(text: &str, indent: usize, style: Style, out: &mut String) {
    wrapped(&[Span::Plain(text.to_owned())], "", 0, indent, style, out);
}

/// Writes words after `lead`, which is at column `first`. Further lines begin at `indent`.
fn wrapped(spans: &[Span], lead: &str, first: usize, indent: usize, style: Style, out: &mut String) {
    let _ = write!(out, "{:first$}{lead}", "");
    let mut column = indent;
    for (number, (length, word)) in words(spans, style).into_iter().enumerate() {
        if number > 0 && column + 1 + length > style.width {
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        } else if number > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(&word);
        column += length;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::markdown::parse;
    use super::*;

    const TEXT: &str = "## Title\n\nSome `long words` wrap, never inside (`a`), of **bold** text.\n\n- first item, which wraps\n- second\n\n\
                        | name | meaning |\n|---|---|\n| `key` | what it means here |\n| `a.very.long.key.that.is.wide` | more |\n\n```sh\nls  -l\n```\n";

    #[test]
    fn a_text_is_wrapped_at_words_and_code_stays_as_it_is() {
        let plain = show(&parse(TEXT), Style { width: 24, colour: false });
        assert_eq!(
            plain,
            "Title\n\nSome `long words` wrap,\nnever inside (`a`), of\nbold text.\n\n- first item, which\n  wraps\n- second\n\n  key  what it means\n       \
             here\n  a.very.long.key.that.is.wide\n       more\n\n    ls  -l\n"
        );
    }

    #[test]
    fn colour_adds_escape_sequences_and_changes_no_line_break() {
        let bold = show(&parse("a `b` c\n"), Style { width: 80, colour: true });
        assert_eq!(bold, "a \x1b[1mb\x1b[0m c\n");
        let without = |text: &str| text.replace("\x1b[1m", "").replace("\x1b[4m", "").replace("\x1b[0m", "");
        let text = "## Title\n\nSome **long words** wrap, and this is longer than a line.\n";
        let [plain, colour] = [false, true].map(|colour| show(&parse(text), Style { width: 20, colour }));
        assert_eq!(without(&colour), plain);
        assert_ne!(colour, plain);
    }
}
