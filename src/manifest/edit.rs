//! Adds routes and exceptions to a bottle's text, keeping everything else in it as it is: comments, order, blank lines. Pure.

use super::front_matter;
use super::raw;
use crate::yaml;

/// Why a text cannot be added to without writing it anew.
pub const FLOW: &str = "the list is written on one line, in brackets";

/// The text with these rows of the table at the end of its routes; `None` if the routes are written in a way that only a person can add to.
pub fn with_routes(text: &str, rows: &[String]) -> Option<String> {
    let raw = read(text)?;
    let egress = raw.egress.as_ref();
    let routes = egress.and_then(|egress| egress.routes.as_deref()).unwrap_or_default();
    with_items(text, ["egress", "routes"], egress.is_some(), routes.last().map(|row| (row.line, row.column)), rows)
}

/// The text with these items at the end of `scan.allow`, in the same way.
pub fn with_excepted(text: &str, items: &[String]) -> Option<String> {
    let raw = read(text)?;
    let scan = raw.scan.as_ref();
    let allow = scan.and_then(|scan| scan.allow.as_deref()).unwrap_or_default();
    with_items(text, ["scan", "allow"], scan.is_some(), allow.last().map(|item| (item.line, item.column)), items)
}

fn read(text: &str) -> Option<raw::Bottle> {
    yaml::parse(&front_matter::split(text.as_bytes()).ok()?.yaml).ok()
}

/// Adds items to a list that is a key of a key; `last` is the place of the list's last item.
fn with_items(text: &str, [outer, inner]: [&str; 2], has_outer: bool, last: Option<(u64, u64)>, items: &[String]) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let outer_line = lines.iter().position(|line| key(line) == Some((0, outer)));
    let (at, indent, opening) = match outer_line {
        None if !has_outer => (closing(&lines)?, 4, format!("{outer}:\n  {inner}:\n")),
        Some(line) => {
            let first = lines[line + 1..].iter().find_map(|line| key(line).filter(|(indent, _)| *indent > 0));
            let below = first.map_or(2, |(indent, _)| indent);
            let inside = line + 1..end(&lines, line + 1, 0);
            let list = inside.clone().find(|line| key(lines[*line]) == Some((below, inner)));
            match (last, list) {
                // The outer key alone, or with other keys only; in braces there is no line of its own for a key.
                (None, None) if is_bare(lines[line]) => (line + 1, below + 2, format!("{}{inner}:\n", " ".repeat(below))),
                (None, Some(list)) if is_bare(lines[list]) => (list + 1, below + 2, String::new()),
                (Some((line, column)), Some(list)) if is_bare(lines[list]) => {
                    // The dash stands two before what it introduces.
                    let dash = usize::try_from(column).ok()?.checked_sub(3)?;
                    let start = usize::try_from(line).ok()?.checked_sub(1)?;
                    (end(&lines, start + 1, dash), dash, String::new())
                }
                _ => return None,
            }
        }
        None => return None,
    };
    let added: String = items.iter().map(|item| format!("{}- {item}\n", " ".repeat(indent))).collect();
    let (before, after) = lines.split_at(at);
    Some(format!("{}{opening}{added}{}", before.concat(), after.concat()))
}

/// The indentation and the name of a key that begins on this line.
fn key(line: &str) -> Option<(usize, &str)> {
    let text = line.trim_start_matches(' ');
    let (name, _) = text.split_once(':')?;
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    plain.then_some((line.len() - text.len(), name))
}

/// True for a key whose value is on the lines below it.
fn is_bare(line: &str) -> bool {
    line.split_once(':').is_some_and(|(_, rest)| rest.trim_start().is_empty() || rest.trim_start().starts_with('#'))
}

/// The first line from `start` on that is indented no deeper than `indent`; blank lines and comments before it are left to what follows.
fn end(lines: &[&str], start: usize, indent: usize) -> usize {
    let is_text = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let depth = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let mut end = start;
    for (number, line) in lines.iter().enumerate().skip(start).filter(|(_, line)| is_text(line)) {
        if depth(line) <= indent {
            break;
        }
        end = number + 1;
    }
    end
}

/// The line of the fence that ends the front matter.
fn closing(lines: &[&str]) -> Option<usize> {
    (1..lines.len()).find(|line| lines[*line].trim_end() == "---")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(yaml: &str) -> Option<String> {
        let text = with_routes(&format!("---\n{yaml}---\n\n# why\n"), &["host: new.test".to_owned()])?;
        Some(text.strip_prefix("---\n")?.strip_suffix("---\n\n# why\n")?.to_owned())
    }

    // covers: V04
    #[test]
    fn an_exception_goes_behind_the_others_and_comments_stay() {
        let added = |yaml: &str| {
            let text = with_excepted(&format!("---\n{yaml}---\n"), &["\"ab\" # why".to_owned()])?;
            Some(text.strip_prefix("---\n")?.strip_suffix("---\n")?.to_owned())
        };
        for (before, after) in [
            ("env: {}\n", "env: {}\nscan:\n  allow:\n    - \"ab\" # why\n"),
            ("scan:\n  answers: true # mine\n", "scan:\n  allow:\n    - \"ab\" # why\n  answers: true # mine\n"),
            ("scan:\n  allow:\n  - \"cd\" # first\nenv: {}\n", "scan:\n  allow:\n  - \"cd\" # first\n  - \"ab\" # why\nenv: {}\n"),
        ] {
            assert_eq!(added(before).as_deref(), Some(after), "{before}");
        }
        assert_eq!(added("scan: { allow: [\"cd\"] }\n"), None);
    }

    // covers: W22
    #[test]
    fn a_route_goes_behind_the_others_and_nothing_else_moves() {
        for (before, after) in [
            ("", "egress:\n  routes:\n    - host: new.test\n"),
            ("env: { A: b } # mine\n", "env: { A: b } # mine\negress:\n  routes:\n    - host: new.test\n"),
            ("egress:\nenv: {}\n", "egress:\n  routes:\n    - host: new.test\nenv: {}\n"),
            ("egress:\n  trust: [x]\n", "egress:\n  routes:\n    - host: new.test\n  trust: [x]\n"),
            (
                "egress:\n  routes:\n    # first\n    - host: a.test\n      matches:\n        - { methods: [GET] }\n    # last\n    - host: b.test\n\n# end\nenv: {}\n",
                "egress:\n  routes:\n    # first\n    - host: a.test\n      matches:\n        - { methods: [GET] }\n    # last\n    - host: b.test\n    - host: new.test\n\n# end\nenv: {}\n",
            ),
            (
                "egress:\n    routes:\n    - host: a.test\n    - { host: b.test }\n    trust: [x]\n",
                "egress:\n    routes:\n    - host: a.test\n    - { host: b.test }\n    - host: new.test\n    trust: [x]\n",
            ),
            ("egress:\n  routes:\n  # - host: x\n", "egress:\n  routes:\n    - host: new.test\n  # - host: x\n"),
        ] {
            assert_eq!(added(before).as_deref(), Some(after), "{before}");
        }
        for inline in ["egress: { routes: [{ host: a.test }] }\n", "egress:\n  routes: []\n", "egress: {}\n"] {
            assert_eq!(added(inline), None, "{inline}");
        }
    }
}
