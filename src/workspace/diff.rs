//! The changes as unified diffs for the operator's eyes. It is not for `patch`: what a terminal would act on is shown as an escape.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use bottle_contract::Untrusted;
use similar::{Algorithm, ChangeTag, TextDiff, TextDiffConfig};

use super::summary::line;
use super::tree::{Tree, words};
use super::{Change, Changes, Kind, Node};
use crate::files::Dir;

/// Files of more bytes are named, not shown.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// A NUL in this many first bytes tells a binary file, as in git.
const PROBE: usize = 8000;
/// What one file's diff may take; then it gets coarser, not wrong.
const DIFF_TIMEOUT: Duration = Duration::from_millis(500);
/// Unchanged lines around a change.
const CONTEXT: usize = 3;

/// Writes each change: its line as in [`super::summary`], then, for text, what differs.
pub fn diff(old: &Dir, new: &Dir, changes: &Changes, out: &mut dyn Write) -> io::Result<()> {
    let (old, new) = (Tree::operators(old), Tree::agents(new));
    for change in &changes.list {
        writeln!(out, "{}", line(change))?;
        let is_file = matches!(change.node, Node::File { .. });
        // What was no file before has no old text.
        let before =
            if is_file && matches!(change.kind, Kind::Modified | Kind::Deleted) { content(old, &change.path) } else { Ok(Vec::new()) };
        let after = if is_file && change.kind != Kind::Deleted { content(new, &change.path) } else { Ok(Vec::new()) };
        match (before, after) {
            (Ok(before), Ok(after)) => text(&before, &after, change, out)?,
            (Err(why), _) | (_, Err(why)) => writeln!(out, "  ({why})")?,
        }
    }
    for skipped in &changes.skipped {
        writeln!(out, "? {} ({})", Untrusted::new(skipped.path.as_os_str().as_encoded_bytes()), skipped.why)?;
    }
    Ok(())
}

fn content(tree: Tree<'_>, path: &Path) -> Result<Vec<u8>, String> {
    let file = match tree.file(path) {
        Ok(file) => file,
        Err(e) => return Err(words(e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(format!("more than {MAX_TEXT_BYTES} bytes, not shown"));
    }
    if bytes[..bytes.len().min(PROBE)].contains(&0) {
        return Err("binary, not shown".to_owned());
    }
    Ok(bytes)
}

fn text(before: &[u8], after: &[u8], change: &Change, out: &mut dyn Write) -> io::Result<()> {
    if before == after {
        if change.kind == Kind::Modified && matches!(change.node, Node::File { .. } | Node::Dir) {
            writeln!(out, "  (mode {:04o})", change.mode)?;
        }
        return Ok(());
    }
    let mut config = TextDiffConfig::default();
    let diff: TextDiff<'_, '_, [u8]> = config.algorithm(Algorithm::Myers).deadline(Instant::now() + DIFF_TIMEOUT).diff_lines(before, after);
    for group in diff.grouped_ops(CONTEXT) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let (old, new) = (first.old_range().start..last.old_range().end, first.new_range().start..last.new_range().end);
        // Lines count from 1; where there is none, the line before is named.
        let from = |range: &std::ops::Range<usize>| if range.is_empty() { range.start } else { range.start + 1 };
        writeln!(out, "@@ -{},{} +{},{} @@", from(&old), old.len(), from(&new), new.len())?;
        for op in &group {
            for line in diff.iter_changes(op) {
                let sign = match line.tag() {
                    ChangeTag::Equal => ' ',
                    ChangeTag::Delete => '-',
                    ChangeTag::Insert => '+',
                };
                write!(out, "{sign}")?;
                shown(line.value(), out)?;
            }
        }
    }
    Ok(())
}

/// One line of content. Tabs are kept, for a terminal takes no harm from them; each piece between them is escaped and bounded.
fn shown(line: &[u8], out: &mut dyn Write) -> io::Result<()> {
    /// More pieces are not a line that anybody reads.
    const MAX_GROUPS: usize = 64;
    let (line, end) = match line.strip_suffix(b"\n") {
        Some(line) => (line, "\n"),
        None => (line, "\n\\ no newline at the end\n"),
    };
    for (index, piece) in line.split(|&b| b == b'\t').enumerate() {
        if index == MAX_GROUPS {
            write!(out, "\t…")?;
            break;
        }
        write!(out, "{}{}", if index > 0 { "\t" } else { "" }, Untrusted::new(piece))?;
    }
    write!(out, "{end}")
}
