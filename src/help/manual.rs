//! Renders Markdown as a manual page.

use roff::{Inline, Roff, bold, roman};

use super::markdown::{Block, Span, plain};
use super::{Schemas, Topic, parse};

/// The page of a topic. It has no date, so that it is reproducible.
pub fn manual(topic: Topic, schemas: Schemas<'_>, version: &str) -> String {
    let name = format!("bottle-{}", topic.name);
    let mut page = Roff::new();
    page.control("TH", [name.as_str(), &topic.section.to_string(), "\"\"", &format!("bottle {version}")]);
    page.control("SH", ["NAME"]);
    page.text([roman(format!("{name} - {}", topic.title()))]);
    let blocks = parse(&topic.markdown(schemas));
    // Text before the first heading has a section too.
    if !matches!(blocks.first(), Some(Block::Heading(..))) {
        page.control("SH", ["DESCRIPTION"]);
    }
    body(&blocks, &mut page);
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("bottle"), roman("(1), "), bold("bottle-manifest"), roman("(5)")]);
    page.render()
}

/// A section of another page, with its own heading.
pub fn section(title: &str, markdown: &str) -> String {
    let mut page = Roff::new();
    page.control("SH", [title]);
    // The page uses one level of headings itself.
    let blocks: Vec<Block> = parse(markdown)
        .into_iter()
        .map(|block| match block {
            Block::Heading(_, spans) => Block::Heading(3, spans),
            block => block,
        })
        .collect();
    body(&blocks, &mut page);
    page.render()
}

fn body(blocks: &[Block], page: &mut Roff) {
    for block in blocks {
        match block {
            Block::Heading(..=2, spans) => {
                page.control("SH", [plain(spans).to_uppercase().as_str()]);
            }
            Block::Heading(_, spans) => {
                page.control("SS", [plain(spans).as_str()]);
            }
            Block::Paragraph(spans) => {
                page.control("PP", []).text(inlines(spans));
            }
            Block::Code(_, text) => {
                page.control("PP", []).control("RS", ["4"]).control("nf", []);
                for line in text.lines() {
                    page.text([roman(line)]);
                }
                page.control("fi", []).control("RE", []);
            }
            Block::List(items) => items.iter().for_each(|item| self::item(item, page)),
            Block::Rows(rows) => {
                for (name, text) in rows {
                    page.control("TP", []).text([bold(plain(name))]).text(inlines(text));
                }
            }
        }
    }
}

fn item(item: &[Block], page: &mut Roff) {
    page.control("IP", ["\\(bu", "2"]);
    for block in item {
        match block {
            Block::Paragraph(spans) => {
                page.text(inlines(spans));
            }
            block => {
                page.control("RS", ["2"]);
                body(std::slice::from_ref(block), page);
                page.control("RE", []);
            }
        }
    }
}

fn inlines(spans: &[Span]) -> Vec<Inline> {
    spans
        .iter()
        .map(|span| match span {
            Span::Plain(text) => roman(text),
            Span::Bold(text) | Span::Code(text) => bold(text),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_roff_and_a_line_that_looks_like_a_request_is_none() {
        let text = section("FILES", "A `b-c`.\n\n```sh\n.so /etc/passwd\n'x\n```\n\n- one\n\n| k | v |\n|---|---|\n| `--x` | y |\n");
        assert_eq!(
            text,
            ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.SH FILES\n.PP\nA \\fBb\\-c\\fR.\n.PP\n.RS 4\n.nf\n\\&.so /etc/passwd\n\\*(Aqx\n.fi\n.RE\n.IP \\(bu 2\n\
             one\n.TP\n\\fB\\-\\-x\\fR\ny\n"
        );
    }
}
