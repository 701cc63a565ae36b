//! What changed, for the operator: counts, the first paths, and all that runs by itself. Every path passes [`Untrusted`].

use std::fmt::Write;

use bottle_contract::Untrusted;

use super::foreign::within_git;
use super::ignored::Ignored;
use super::{Change, Changes, Kind, Node, Skipped, When, flag};

/// How many paths of each group are shown, but for what runs by itself.
const MAX_SHOWN: usize = 12;

/// The changes, sorted by what they are to the operator.
#[derive(Debug, Default)]
pub struct Report<'c> {
    /// Of files, directories and symlinks.
    pub files: Vec<&'c Change>,
    /// The same, of what git ignores.
    pub ignored: Vec<&'c Change>,
    /// Of git's own data: objects, refs, the index.
    pub git: Vec<&'c Change>,
    /// What runs by itself, the most dangerous first. All of it is in one of the others, too.
    pub running: Vec<(&'c Change, &'static str)>,
    /// What cannot be taken over.
    pub skipped: Vec<&'c Skipped>,
}

/// True for git's own data, which no tool of the operator's runs.
pub(super) fn is_git_data(change: &Change) -> bool {
    let Some(within) = within_git(&change.path) else { return false };
    // Git's examples run under another name only.
    let is_sample = within.starts_with("hooks") && within.extension().is_some_and(|ending| ending == "sample");
    change.node == Node::Dir || is_sample || flag(&change.path).is_none()
}

impl<'c> Report<'c> {
    /// Sorts the changes.
    pub fn of(changes: &'c Changes, ignored: &mut Ignored<'_>) -> Self {
        let mut report = Self { skipped: changes.skipped.iter().collect(), ..Self::default() };
        let mut running = Vec::new();
        for change in &changes.list {
            if is_git_data(change) {
                report.git.push(change);
                continue;
            }
            let is_ignored = within_git(&change.path).is_none() && ignored.has(&change.path, change.node == Node::Dir);
            let list = if is_ignored { &mut report.ignored } else { &mut report.files };
            list.push(change);
            if change.kind == Kind::Deleted || change.node == Node::Dir {
                continue;
            }
            match flag(&change.path) {
                // What builds and installs leave is too much to be read.
                Some((When::Asked, _)) if is_ignored => {}
                Some((when, why)) => running.push((when, change, why)),
                None => {}
            }
        }
        running.sort_by_key(|(when, change, _)| (*when, &change.path));
        report.running = running.into_iter().map(|(_, change, why)| (change, why)).collect();
        report
    }

    /// True if there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.ignored.is_empty() && self.skipped.is_empty() && !self.has_commits()
    }

    /// True if the agent made objects or moved refs: a refreshed index is no work.
    pub fn has_commits(&self) -> bool {
        self.git.iter().any(|change| {
            let within = within_git(&change.path).unwrap_or(std::path::Path::new(""));
            // Also in the git directory of a submodule.
            let is_data = |part: std::path::Component<'_>| ["objects", "refs", "packed-refs"].iter().any(|name| part.as_os_str() == *name);
            change.node != Node::Dir && within.components().any(is_data)
        })
    }

    /// The branches and tags that the agent made or moved.
    pub fn refs(&self) -> Vec<String> {
        let names = self.git.iter().filter(|change| change.node != Node::Dir && change.kind != Kind::Deleted);
        let within = names.filter_map(|change| within_git(&change.path)?.to_str());
        within.filter(|path| path.starts_with("refs/heads/") || path.starts_with("refs/tags/")).map(str::to_owned).collect()
    }

    /// The summary.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    /// In a few words.
    pub fn counts(&self) -> String {
        let count = |kind| self.files.iter().filter(|change| change.kind == kind).count();
        let mut text = format!("{} added, {} modified, {} deleted", count(Kind::Added), count(Kind::Modified), count(Kind::Deleted));
        for (count, what) in [(count(Kind::TypeChanged), "of another type"), (self.ignored.len(), "ignored by git")] {
            if count > 0 {
                let _ = write!(text, ", {count} {what}");
            }
        }
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        if self.is_empty() {
            return writeln!(out, "the workspace is unchanged");
        }
        writeln!(out, "{}", self.counts())?;
        // Directories tell nothing that their content does not, unless they are empty or gone.
        let shown: Vec<&&Change> = self.files.iter().filter(|change| change.node != Node::Dir || change.kind != Kind::Added).collect();
        for change in shown.iter().take(MAX_SHOWN) {
            writeln!(out, "  {}", line(change))?;
        }
        more(out, shown.len())?;
        if !self.running.is_empty() {
            writeln!(out, "look at these before you work there, they run by themselves:")?;
            for (change, why) in &self.running {
                writeln!(out, "  {}: {why}", line(change))?;
            }
        }
        if self.has_commits() {
            let refs: Vec<String> = self.refs().iter().map(|name| Untrusted::new(name).to_string()).collect();
            let refs = if refs.is_empty() { String::new() } else { format!(": {}", refs.join(", ")) };
            writeln!(out, "the agent committed{refs}")?;
            writeln!(
                out,
                "  files come by `bottle apply`, commits by a push through the gate, or in a bundle: `git bundle create FILE HEAD` inside"
            )?;
        }
        if !self.skipped.is_empty() {
            writeln!(out, "left out:")?;
            for skipped in self.skipped.iter().take(MAX_SHOWN) {
                writeln!(out, "  {}: {}", Untrusted::new(skipped.path.as_os_str().as_encoded_bytes()), skipped.why)?;
            }
            more(out, self.skipped.len())?;
        }
        Ok(())
    }
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
