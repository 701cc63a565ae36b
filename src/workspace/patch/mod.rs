//! The changes as a patch that `git apply` takes: modes, symlinks, binary files and renames too. On a terminal the same is shown with escapes
//! for whatever a terminal would act on.

mod binary;
mod hunks;
mod renames;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::Path;

use bottle_contract::Untrusted;

use super::merge::is_binary;
use super::tree::{Tree, words};
use super::{Change, Kind, Skipped};
use crate::files::Dir;
use hunks::Lines;

/// Files of more bytes are named, and are no part of a patch.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// What a patch is made of.
#[derive(Clone, Copy)]
pub struct Trees<'d> {
    /// The operator's tree.
    pub old: &'d Dir,
    /// What the agent wrote.
    pub new: &'d Dir,
    /// Copies of files as they were at the start.
    pub base: Option<&'d Dir>,
}

/// For whom the patch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A program: byte for byte.
    Program,
    /// A person at a terminal.
    Person {
        /// It shows colours.
        colour: bool,
    },
}

/// One side of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Side<'c> {
    path: &'c Path,
    /// As git has it: 100644, 100755 or 120000.
    mode: u32,
    content: Vec<u8>,
}

/// Lines that one file got and lost; none for a binary file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The file, as git writes it.
    pub path: String,
    /// Added and removed lines.
    pub lines: Option<(usize, usize)>,
}

/// Writes the patch. What cannot be in it is returned.
pub fn patch(trees: Trees<'_>, changes: &[&Change], reader: Reader, out: &mut dyn Write) -> io::Result<Vec<Skipped>> {
    let mut out = Output { out, reader };
    each(trees, changes, &mut |before, after| write(before, after, &mut out))
}

/// Counts lines.
pub fn stat(trees: Trees<'_>, changes: &[&Change]) -> io::Result<(Vec<Stat>, Vec<Skipped>)> {
    let mut stats = Vec::new();
    let skipped = each(trees, changes, &mut |before, after| {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        if let Some(side) = &before {
            a.clone_from(&side.content);
        }
        if let Some(side) = &after {
            b.clone_from(&side.content);
        }
        let path = match (&before, &after) {
            (Some(before), Some(after)) if before.path != after.path => {
                format!("{} => {}", quoted("", before.path), quoted("", after.path))
            }
            (_, Some(side)) | (Some(side), None) => quoted("", side.path),
            (None, None) => return Ok(()),
        };
        let lines = (!is_binary(&a) && !is_binary(&b)).then(|| Lines::of(&a, &b).counts());
        stats.push(Stat { path, lines });
        Ok(())
    })?;
    Ok((stats, skipped))
}

type Visit<'v> = &'v mut dyn FnMut(Option<Side<'_>>, Option<Side<'_>>) -> io::Result<()>;

/// Visits each changed file with both its sides; a rename once, at its new path.
fn each(trees: Trees<'_>, changes: &[&Change], visit: Visit<'_>) -> io::Result<Vec<Skipped>> {
    let (old, new) = (Tree::operators(trees.old), Tree::agents(trees.new));
    let base = trees.base.map(Tree::operators);
    let renames: HashMap<&Path, &Path> = renames::find(changes, old, new);
    let moved: std::collections::HashSet<&Path> = renames.values().copied().collect();
    let mut skipped = Vec::new();
    for change in changes {
        let path = change.path.as_path();
        if change.kind == Kind::Deleted && moved.contains(path) {
            continue;
        }
        let from = renames.get(path).copied().unwrap_or(path);
        let has_before = change.kind != Kind::Added || from != path;
        let sides = || {
            let before = if has_before { side_before(old, base, from)? } else { None };
            let after = if change.kind == Kind::Deleted { None } else { side(new, path)? };
            Ok::<_, String>((before, after))
        };
        match sides() {
            // Directories have no part in a patch.
            Ok((None, None)) => {}
            // A symlink that was a file is another file to git.
            Ok((Some(before), Some(after))) if before.mode & 0o170_000 != after.mode & 0o170_000 => {
                visit(Some(before), None)?;
                visit(None, Some(after))?;
            }
            Ok((before, after)) => visit(before, after)?,
            Err(why) => skipped.push(Skipped { path: path.to_owned(), why }),
        }
    }
    Ok(skipped)
}

/// The old side: what the operator has changed since the start is no part of the agent's change, as far as the start is known.
fn side_before<'c>(old: Tree<'_>, base: Option<Tree<'_>>, path: &'c Path) -> Result<Option<Side<'c>>, String> {
    let now = side(old, path)?;
    let then = base.and_then(|base| side(base, path).ok().flatten());
    Ok(match (now, then) {
        (Some(now), Some(then)) if now.mode != 0o120_000 => Some(Side { content: then.content, ..now }),
        (now, _) => now,
    })
}

/// A file or symlink; `None` for everything else.
fn side<'c>(tree: Tree<'_>, path: &'c Path) -> Result<Option<Side<'c>>, String> {
    let Some(stat) = tree.stat(path).map_err(words)? else { return Ok(None) };
    let (mode, content) = match super::tree::file_type(&stat) {
        rustix::fs::FileType::Symlink => (0o120_000, tree.target(path).map_err(words)?.into_encoded_bytes()),
        rustix::fs::FileType::RegularFile => {
            let mut content = Vec::new();
            let file = tree.file(path).map_err(words)?;
            file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(|e| e.to_string())?;
            if content.len() as u64 > MAX_FILE_BYTES {
                return Err(format!("it has {} bytes, and is no part of a patch", stat.st_size));
            }
            (if stat.st_mode & 0o100 == 0 { 0o100_644 } else { 0o100_755 }, content)
        }
        _ => return Ok(None),
    };
    Ok(Some(Side { path, mode, content }))
}

struct Output<'o> {
    out: &'o mut dyn Write,
    reader: Reader,
}

/// What a line of a patch is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Head,
    Place,
    Same,
    Gone,
    New,
}

impl Output<'_> {
    /// One line without its end.
    fn line(&mut self, role: Role, bytes: &[u8]) -> io::Result<()> {
        let Reader::Person { colour } = self.reader else {
            self.out.write_all(bytes)?;
            return self.out.write_all(b"\n");
        };
        let code = match role {
            Role::Head => "1",
            Role::Place => "36",
            Role::Gone => "31",
            Role::New => "32",
            Role::Same => "",
        };
        let is_coloured = colour && !code.is_empty();
        if is_coloured {
            write!(self.out, "\x1b[{code}m")?;
        }
        // Tabs are kept, for a terminal takes no harm from them.
        for (index, part) in bytes.split(|byte| *byte == b'\t').enumerate() {
            write!(self.out, "{}{}", if index > 0 { "\t" } else { "" }, Untrusted::new(part))?;
        }
        if is_coloured {
            write!(self.out, "\x1b[m")?;
        }
        writeln!(self.out)
    }

    fn head(&mut self, text: &str) -> io::Result<()> {
        self.line(Role::Head, text.as_bytes())
    }
}

fn write(before: Option<Side<'_>>, after: Option<Side<'_>>, out: &mut Output<'_>) -> io::Result<()> {
    let (Some(from), Some(to)) = (before.as_ref().or(after.as_ref()), after.as_ref().or(before.as_ref())) else { return Ok(()) };
    let (a, b) = (quoted("a/", from.path), quoted("b/", to.path));
    let same_content = before.as_ref().map(|side| &side.content) == after.as_ref().map(|side| &side.content);
    if before.is_some() && after.is_some() && same_content && from.mode == to.mode && from.path == to.path {
        // Bits of the mode that git does not keep.
        return Ok(());
    }
    out.head(&format!("diff --git {a} {b}"))?;
    match (&before, &after) {
        (None, Some(side)) => out.head(&format!("new file mode {:o}", side.mode))?,
        (Some(side), None) => out.head(&format!("deleted file mode {:o}", side.mode))?,
        (Some(old), Some(new)) if old.mode != new.mode => {
            out.head(&format!("old mode {:o}", old.mode))?;
            out.head(&format!("new mode {:o}", new.mode))?;
        }
        _ => {}
    }
    if from.path != to.path {
        let same = if same_content { 100 } else { Lines::of(&from.content, &to.content).similarity() };
        out.head(&format!("similarity index {same}%"))?;
        out.head(&format!("rename from {}", quoted("", from.path)))?;
        out.head(&format!("rename to {}", quoted("", to.path)))?;
    }
    if before.is_some() && after.is_some() && same_content {
        return Ok(());
    }
    let id = |side: &Option<Side<'_>>| side.as_ref().map_or("0".repeat(40), |side| binary::blob_id(&side.content));
    let mode = if before.is_some() && after.is_some() && from.mode == to.mode { format!(" {:o}", from.mode) } else { String::new() };
    out.head(&format!("index {}..{}{mode}", id(&before), id(&after)))?;
    let [old, new] = [&before, &after].map(|side| side.as_ref().map_or(&[][..], |side| &side.content));
    if is_binary(old) || is_binary(new) {
        return match out.reader {
            Reader::Program => binary::write(old, new, out.out),
            Reader::Person { .. } => out.line(Role::Place, format!("binary: {} bytes, {} before", new.len(), old.len()).as_bytes()),
        };
    }
    if old.is_empty() && new.is_empty() {
        return Ok(());
    }
    out.head(&format!("--- {}", if before.is_some() { named(&a) } else { "/dev/null".to_owned() }))?;
    out.head(&format!("+++ {}", if after.is_some() { named(&b) } else { "/dev/null".to_owned() }))?;
    Lines::of(old, new).write(out)
}

/// A name in a line that may hold a time behind a tab: git ends one with a space in it by a tab.
fn named(quoted: &str) -> String {
    if quoted.contains(' ') && !quoted.starts_with('"') { format!("{quoted}\t") } else { quoted.to_owned() }
}

/// A path as git writes it: in quotes with escapes, if it has bytes that would be read as something else.
pub fn quoted(prefix: &str, path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if bytes.iter().all(is_plain) {
        return format!("{prefix}{}", String::from_utf8_lossy(bytes));
    }
    let mut text = format!("\"{prefix}");
    for byte in bytes {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'\r' => text.push_str("\\r"),
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            byte if is_plain(byte) => text.push(char::from(*byte)),
            byte => text.push_str(&format!("\\{byte:03o}")),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_path_is_quoted_as_git_does() {
        for (bytes, expected) in [
            (&b"a b.txt"[..], "a/a b.txt"),
            (b"tab\tnew\nline", r#""a/tab\tnew\nline""#),
            (b"q\"b\\s", r#""a/q\"b\\s""#),
            ("ä".as_bytes(), r#""a/\303\244""#),
            (b"esc\x1b[2J", r#""a/esc\033[2J""#),
        ] {
            assert_eq!(quoted("a/", Path::new(OsStr::from_bytes(bytes))), expected);
        }
    }
}
