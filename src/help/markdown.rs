//! Parses the subset of Markdown that topics use into blocks and spans. A test finds anything else.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// A span of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// Prose.
    Plain(String),
    /// `**bold**`, and what `*emphasis*` marks.
    Bold(String),
    /// `` `code` ``.
    Code(String),
}

/// A block of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// A heading; `##` is 2.
    Heading(u8, Vec<Span>),
    /// A paragraph.
    Paragraph(Vec<Span>),
    /// Preformatted lines, and their language.
    Code(String, String),
    /// A list; each item is blocks.
    List(Vec<Vec<Block>>),
    /// Rows of a table of two columns, without its head.
    Rows(Vec<(Vec<Span>, Vec<Span>)>),
}

/// Parses a text.
pub fn parse(text: &str) -> Vec<Block> {
    let mut events = Parser::new_ext(text, Options::ENABLE_TABLES);
    blocks(&mut events, None)
}

fn blocks<'a>(events: &mut impl Iterator<Item = Event<'a>>, until: Option<TagEnd>) -> Vec<Block> {
    let mut found = Vec::new();
    // An item of a tight list has no paragraph.
    let mut loose = Vec::new();
    let flush = |loose: &mut Vec<Span>, found: &mut Vec<Block>| {
        if !loose.is_empty() {
            found.push(Block::Paragraph(std::mem::take(loose)));
        }
    };
    while let Some(event) = events.next() {
        match event {
            Event::End(end) if Some(end) == until => break,
            Event::Start(Tag::Paragraph) => found.push(Block::Paragraph(spans(events, TagEnd::Paragraph))),
            Event::Start(Tag::Heading { level, .. }) => found.push(Block::Heading(depth(level), spans(events, TagEnd::Heading(level)))),
            Event::Start(Tag::CodeBlock(kind)) => {
                let language = if let CodeBlockKind::Fenced(language) = kind { language.to_string() } else { String::new() };
                found.push(Block::Code(language, plain(&spans(events, TagEnd::CodeBlock))));
            }
            Event::Start(Tag::List(_)) => {
                flush(&mut loose, &mut found);
                found.push(Block::List(items(events)));
            }
            Event::Start(Tag::Table(_)) => found.push(Block::Rows(rows(events))),
            Event::Start(Tag::Strong | Tag::Emphasis) => loose.push(Span::Bold(plain(&strong(events)))),
            event => loose.extend(span(event)),
        }
    }
    flush(&mut loose, &mut found);
    found
}

fn items<'a>(events: &mut impl Iterator<Item = Event<'a>>) -> Vec<Vec<Block>> {
    let mut items = Vec::new();
    while let Some(event) = events.next() {
        match event {
            Event::Start(Tag::Item) => items.push(blocks(events, Some(TagEnd::Item))),
            Event::End(TagEnd::List(_)) => break,
            _ => {}
        }
    }
    items
}

fn rows<'a>(events: &mut impl Iterator<Item = Event<'a>>) -> Vec<(Vec<Span>, Vec<Span>)> {
    let (mut rows, mut cells) = (Vec::new(), Vec::new());
    while let Some(event) = events.next() {
        match event {
            Event::Start(Tag::TableCell) => cells.push(spans(events, TagEnd::TableCell)),
            // Column headings are dropped.
            Event::End(TagEnd::TableHead) => cells.clear(),
            Event::End(TagEnd::TableRow) => {
                let mut row = cells.drain(..);
                rows.push((row.next().unwrap_or_default(), row.next().unwrap_or_default()));
            }
            Event::End(TagEnd::Table) => break,
            _ => {}
        }
    }
    rows
}

fn spans<'a>(events: &mut impl Iterator<Item = Event<'a>>, until: TagEnd) -> Vec<Span> {
    let mut found = Vec::new();
    while let Some(event) = events.next() {
        match event {
            Event::End(end) if end == until => break,
            Event::Start(Tag::Strong | Tag::Emphasis) => found.push(Span::Bold(plain(&strong(events)))),
            event => found.extend(span(event)),
        }
    }
    found
}

fn strong<'a>(events: &mut impl Iterator<Item = Event<'a>>) -> Vec<Span> {
    let mut found = Vec::new();
    for event in events {
        match event {
            Event::End(TagEnd::Strong | TagEnd::Emphasis) => break,
            event => found.extend(span(event)),
        }
    }
    found
}

/// A link is its text; the target is dropped.
fn span(event: Event<'_>) -> Option<Span> {
    match event {
        Event::Text(text) => Some(Span::Plain(text.to_string())),
        Event::Code(text) => Some(Span::Code(text.to_string())),
        Event::SoftBreak | Event::HardBreak => Some(Span::Plain(" ".to_owned())),
        _ => None,
    }
}

/// The text alone.
pub(super) fn plain(spans: &[Span]) -> String {
    spans.iter().map(|(Span::Plain(text) | Span::Bold(text) | Span::Code(text))| text.as_str()).collect()
}

fn depth(level: HeadingLevel) -> u8 {
    level as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<Span> {
        vec![Span::Plain(text.to_owned())]
    }

    #[test]
    fn headings_lists_code_and_tables_become_blocks() {
        let found =
            parse("## A `b`\n\none\ntwo\n\n- **x**: y\n- z\n  - w\n\n```sh\na\n  b\n```\n\n| k | v |\n|---|---|\n| `c\\|d` | e |\n");
        let first = vec![Block::Paragraph(vec![Span::Bold("x".into()), Span::Plain(": y".into())])];
        let second = vec![Block::Paragraph(text("z")), Block::List(vec![vec![Block::Paragraph(text("w"))]])];
        assert_eq!(
            found,
            [
                Block::Heading(2, vec![Span::Plain("A ".into()), Span::Code("b".into())]),
                Block::Paragraph([text("one"), text(" "), text("two")].concat()),
                Block::List(vec![first, second]),
                Block::Code("sh".into(), "a\n  b\n".into()),
                Block::Rows(vec![(vec![Span::Code("c|d".into())], text("e"))]),
            ]
        );
    }
}
