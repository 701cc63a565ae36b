//! What changed, in a few lines for the operator.

use std::fmt::Write;

use bottle_contract::Untrusted;

use super::{Change, Changes, Kind, Node, flag};

/// How many paths of each group are shown.
const MAX_SHOWN: usize = 12;

/// Counts, the first paths, and what deserves a look because it runs by itself. Every path passes [`Untrusted`].
pub fn summary(changes: &Changes) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_summary(&mut text, changes);
    text
}

fn write_summary(out: &mut String, changes: &Changes) -> std::fmt::Result {
    if changes.list.is_empty() && changes.skipped.is_empty() {
        return writeln!(out, "the workspace is unchanged");
    }
    let count = |kind| changes.list.iter().filter(|change| change.kind == kind).count();
    write!(out, "{} added, {} modified, {} deleted", count(Kind::Added), count(Kind::Modified), count(Kind::Deleted))?;
    match count(Kind::TypeChanged) {
        0 => writeln!(out)?,
        n => writeln!(out, ", {n} of another type")?,
    }
    // Directories tell nothing that their content does not, unless they are empty or gone.
    let shown: Vec<&Change> = changes.list.iter().filter(|change| change.node != Node::Dir || change.kind != Kind::Added).collect();
    for change in shown.iter().take(MAX_SHOWN) {
        writeln!(out, "  {}", line(change))?;
    }
    more(out, shown.len())?;
    let flagged: Vec<(&Change, &str)> = changes
        .list
        .iter()
        .filter(|change| change.kind != Kind::Deleted && change.node != Node::Dir)
        .filter_map(|change| Some((change, flag(&change.path)?)))
        .collect();
    if !flagged.is_empty() {
        writeln!(out, "look at these before you work there, they run by themselves:")?;
        for (change, why) in flagged.iter().take(MAX_SHOWN) {
            writeln!(out, "  {}: {why}", line(change))?;
        }
        more(out, flagged.len())?;
    }
    if !changes.skipped.is_empty() {
        writeln!(out, "left out:")?;
        for skipped in changes.skipped.iter().take(MAX_SHOWN) {
            writeln!(out, "  {}: {}", Untrusted::new(skipped.path.as_os_str().as_encoded_bytes()), skipped.why)?;
        }
        more(out, changes.skipped.len())?;
    }
    Ok(())
}

fn more(out: &mut String, count: usize) -> std::fmt::Result {
    if count > MAX_SHOWN { writeln!(out, "  … and {} more", count - MAX_SHOWN) } else { Ok(()) }
}

/// One change in one line: a letter as version control systems use it, the path, and what it is if that is not a plain file.
pub(super) fn line(change: &Change) -> String {
    let letter = match change.kind {
        Kind::Added => 'A',
        Kind::Modified => 'M',
        Kind::Deleted => 'D',
        Kind::TypeChanged => 'T',
    };
    let path = Untrusted::new(change.path.as_os_str().as_encoded_bytes());
    match &change.node {
        Node::File { .. } if change.mode & 0o111 != 0 && change.kind != Kind::Deleted => format!("{letter} {path} (executable)"),
        Node::File { .. } | Node::Other => format!("{letter} {path}"),
        Node::Dir => format!("{letter} {path}/"),
        Node::Symlink { target } => format!("{letter} {path} -> {}", Untrusted::new(target.as_encoded_bytes())),
    }
}
