//! Whatever a run left behind: an empty residue is what "success of a teardown" means.
//!
//! Other work goes on on the same machine, so nothing counts merely because it is new: a process belongs to the run by its
//! warden, by the run's marker, or by sharing a namespace with one that does; a mount, file or socket by the run's directories;
//! a control group by its name, if no stranger lives in it.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::termios::{Termios, tcgetattr};

use crate::deadline::wait_until;
use crate::process::{Process, linked, own_namespaces, snapshot};
use crate::warden::Warden;

mod picture;

use picture::Picture;

/// How long the kernel may take to finish what it was told: unmounting, reaping and freeing go on after the last exit.
pub const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);

/// What belongs to a run.
#[derive(Debug, Default)]
pub struct Scope {
    /// A text that nothing else on the machine contains: the name of the run's own directory.
    pub marker: String,
    /// Directories in which nothing new may be.
    pub directories: Vec<PathBuf>,
    /// Except these, relative to one of them; `*` stands for one component, or for the rest if it is last.
    pub kept: Vec<String>,
    /// A terminal whose modes must be as before.
    pub terminal: Option<OwnedFd>,
}

/// One thing that was left.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leftover {
    /// A process.
    Process {
        /// Its id.
        pid: i32,
        /// Its command line.
        command: String,
    },
    /// A namespace, and who is in it.
    Namespace {
        /// `net`, `pid`, …
        kind: &'static str,
        /// As in `/proc/PID/ns`.
        inode: u64,
        /// Processes.
        holders: Vec<i32>,
    },
    /// A mount in our own namespace.
    Mount(String),
    /// A control group.
    ControlGroup(PathBuf),
    /// A file, directory, socket or link.
    File(PathBuf),
    /// A listening or connected unix socket.
    Socket(String),
    /// The terminal's modes: before and after.
    Terminal(String),
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, command } => write!(f, "process {pid}: {command}"),
            Self::Namespace { kind, inode, holders } => write!(f, "namespace {kind}:[{inode}] held by {holders:?}"),
            Self::Mount(line) => write!(f, "mount {line}"),
            Self::ControlGroup(path) => write!(f, "control group {}", path.display()),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Socket(name) => write!(f, "unix socket {name}"),
            Self::Terminal(change) => write!(f, "terminal modes {change}"),
        }
    }
}

/// The state before a run.
#[derive(Debug)]
pub struct Residue {
    scope: Scope,
    wardens: Vec<i32>,
    /// The first process of each.
    runs: Vec<i32>,
    before: Picture,
    modes: Option<Termios>,
}

impl Residue {
    /// Remembers what is there.
    pub fn before(scope: Scope) -> Self {
        assert!(scope.marker.len() >= 8, "a marker that short may be elsewhere by chance: {:?}", scope.marker);
        let before = Picture::take(&scope.marker, &scope.directories);
        let modes = scope.terminal.as_ref().and_then(|terminal| tcgetattr(terminal.as_fd()).ok());
        Self { scope, wardens: Vec::new(), runs: Vec::new(), before, modes }
    }

    /// Whatever is below this warden belongs to the run.
    pub fn below(&mut self, warden: &Warden) {
        self.wardens.push(warden.id());
        self.runs.push(warden.pid());
    }

    /// What is left now.
    pub fn leftovers(&self) -> Vec<Leftover> {
        let processes = snapshot(&self.scope.marker);
        let own = own_namespaces();
        let this = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
        let linked = linked(&processes, &self.wardens, &own, this);
        let mut left: Vec<Leftover> =
            linked.iter().map(|process| Leftover::Process { pid: process.pid, command: process.command.clone() }).collect();
        left.extend(namespaces(&linked, &own));
        let now = Picture::take(&self.scope.marker, &self.scope.directories);
        left.extend(now.new_since(
            &self.before,
            |path| self.is_kept(path),
            |pid| linked.iter().any(|process| process.pid == pid),
            &self.runs,
        ));
        left.extend(self.changed_modes());
        left.sort();
        left
    }

    /// What is left when all that was still on its way out has had [`SETTLE_TIMEOUT`] to go.
    pub fn settled(&self) -> Vec<Leftover> {
        let mut left = Vec::new();
        let _ = wait_until(SETTLE_TIMEOUT, || {
            left = self.leftovers();
            left.is_empty().then_some(())
        });
        left
    }

    /// Panics with the list of what is left, if anything is.
    #[track_caller]
    pub fn assert_empty_after(&self) {
        Self::assert_none(&self.settled());
    }

    /// The same, of what was asked before.
    #[track_caller]
    pub fn assert_none(left: &[Leftover]) {
        let lines: Vec<String> = left.iter().map(|leftover| format!("  {leftover}")).collect();
        assert!(lines.is_empty(), "the run left behind:\n{}", lines.join("\n"));
    }

    fn is_kept(&self, path: &Path) -> bool {
        let relative = self.scope.directories.iter().filter_map(|directory| path.strip_prefix(directory).ok());
        relative.into_iter().any(|path| self.scope.kept.iter().any(|pattern| matches(pattern, path)))
    }

    fn changed_modes(&self) -> Option<Leftover> {
        let before = self.modes.as_ref()?;
        let now = tcgetattr(self.scope.terminal.as_ref()?.as_fd()).ok()?;
        (now != *before).then(|| Leftover::Terminal(format!("{before:?} -> {now:?}")))
    }
}

/// The namespaces that a run's processes are in and this process is not.
fn namespaces(processes: &[&Process], own: &BTreeMap<&'static str, u64>) -> Vec<Leftover> {
    let mut holders: BTreeMap<(&'static str, u64), Vec<i32>> = BTreeMap::new();
    for process in processes {
        for (kind, inode) in process.namespaces.iter().filter(|(kind, inode)| own.get(*kind) != Some(inode)) {
            holders.entry((kind, *inode)).or_default().push(process.pid);
        }
    }
    holders.into_iter().map(|((kind, inode), holders)| Leftover::Namespace { kind, inode, holders }).collect()
}

/// A path is kept if the pattern names it, or one of its parents' directories on the way to something kept.
fn matches(pattern: &str, path: &Path) -> bool {
    let mut wanted = pattern.split('/').peekable();
    for part in path.components() {
        match wanted.next() {
            Some("*") if wanted.peek().is_none() => return true,
            Some(name) if name == "*" || Some(name) == part.as_os_str().to_str() => {}
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_keeps_its_path_and_the_way_there() {
        for (path, kept) in [("a", true), ("a/logs", true), ("a/logs/x/y", true), ("a/secret", false), ("a/logs2", false)] {
            assert_eq!(matches("*/logs/*", Path::new(path)), kept, "{path}");
        }
        assert!(matches("*/metadata.json", Path::new("a/metadata.json")));
        assert!(!matches("*/metadata.json", Path::new("a/metadata.json/x")));
    }
}
