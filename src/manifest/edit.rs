//! Adds routes to a bottle's text, keeping everything else in it as it is: comments, order, blank lines. Pure.

use super::front_matter;
use super::raw;
use crate::yaml;

/// Why a text cannot be added to without writing it anew.
pub const FLOW: &str = "its routes are written on one line, in brackets";

/// The text with these rows of the table at the end of its routes; `None` if the routes are written in a way that only a person can add to.
pub fn with_routes(text: &str, rows: &[String]) -> Option<String> {
    let document = front_matter::split(text.as_bytes()).ok()?;
    let raw: raw::Bottle = yaml::parse(&document.yaml).ok()?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let egress = lines.iter().position(|line| key(line) == Some((0, "egress")));
    let (at, indent, opening) = match (&raw.egress, egress) {
        (None, None) => (closing(&lines)?, 4, "egress:\n  routes:\n".to_owned()),
        (Some(egress), Some(line)) => {
            let first = lines[line + 1..].iter().find_map(|line| key(line).filter(|(indent, _)| *indent > 0));
            let below = first.map_or(2, |(indent, _)| indent);
            let inside = line + 1..end(&lines, line + 1, 0);
            let routes = inside.clone().find(|line| key(lines[*line]) == Some((below, "routes")));
            match (egress.routes.as_deref(), routes) {
                // `egress:` alone, or with other keys only; in braces there is no line of its own for a key.
                (None | Some([]), None) if is_bare(lines[line]) => (line + 1, below + 2, format!("{}routes:\n", " ".repeat(below))),
                (Some([]) | None, Some(routes)) if is_bare(lines[routes]) => (routes + 1, below + 2, String::new()),
                (Some([.., last]), Some(routes)) if is_bare(lines[routes]) => {
                    // The dash stands two before what it introduces.
                    let dash = usize::try_from(last.column).ok()?.checked_sub(3)?;
                    let start = usize::try_from(last.line).ok()?.checked_sub(1)?;
                    (end(&lines, start + 1, dash), dash, String::new())
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    let added: String = rows.iter().map(|row| format!("{}- {row}\n", " ".repeat(indent))).collect();
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
