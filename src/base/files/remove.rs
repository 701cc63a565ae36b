//! Removal of whole trees that an agent may have shaped: any depth, any mode, any name, and never anything outside.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Dir, PRIVATE_DIR, chmod_by_descriptor, component, failed, random_hex, resolved};
use crate::error::Result;

/// How deep one walk goes. What lies deeper is first moved up, so that neither descriptors nor the stack run out.
const MAX_DEPTH: usize = 64;
/// How often a directory is emptied again because somebody still writes into it.
const MAX_ROUNDS: usize = 16;

impl Dir {
    /// Removes `name` and all below it. What is not there, or disappears meanwhile, is removed. Symlinks are removed, not followed;
    /// another file system mounted inside is left alone and is an error. Goes on after an error and reports the first.
    pub fn remove_tree(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = component(name.as_ref())?;
        let mut removal = Removal { top: self, moved: Vec::new(), first: None, errors: 0 };
        removal.remove(self, name, 0);
        while let Some(name) = removal.moved.pop() {
            removal.remove(self, &name, 0);
        }
        match removal.first {
            None => Ok(()),
            Some((path, call, errno)) => Err(failed("remove", &path, call, errno)),
        }
    }
}

struct Removal<'d> {
    /// Where too deep directories are moved to: the directory that holds the tree.
    top: &'d Dir,
    /// Those that wait there.
    moved: Vec<OsString>,
    first: Option<(std::path::PathBuf, &'static str, Errno)>,
    errors: u64,
}

impl Removal<'_> {
    fn remove(&mut self, parent: &Dir, name: &OsStr, depth: usize) {
        match rustix::fs::unlinkat(&parent.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return,
            Err(Errno::ISDIR) => {}
            Err(e) => return self.note(parent, name, "unlinkat", e),
        }
        for _ in 0..MAX_ROUNDS {
            match rustix::fs::unlinkat(&parent.fd, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return,
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(e) => return self.note(parent, name, "unlinkat", e),
            }
            if depth == MAX_DEPTH {
                return self.move_up(parent, name);
            }
            let dir = match open_for_removal(parent, name) {
                Ok(fd) => Dir { fd, path: parent.path.join(name) },
                Err(Errno::NOENT) => return,
                Err(e) => return self.note(parent, name, "openat2", e),
            };
            let before = self.errors;
            match super::read::list(&dir) {
                Ok(names) => names.iter().for_each(|name| self.remove(&dir, name, depth + 1)),
                Err(e) => return self.note(parent, name, "getdents64", e),
            }
            // What could not be removed will not go in a further round.
            if self.errors != before {
                return;
            }
        }
        self.note(parent, name, "unlinkat", Errno::NOTEMPTY);
    }

    /// Moves a deep directory beside the tree, to be removed from there later: with a stack and descriptors of its own.
    fn move_up(&mut self, parent: &Dir, name: &OsStr) {
        let moved = random_hex().map(|hex| OsString::from(format!("{}{hex}", super::TEMPORARY)));
        // To move a directory is to change its `..`, which its own mode must allow.
        let opened = open_for_removal(parent, name);
        match opened.and(moved).and_then(|to| rustix::fs::renameat(&parent.fd, name, &self.top.fd, &to).map(|()| to)) {
            Ok(to) => self.moved.push(to),
            Err(Errno::NOENT) => {}
            Err(e) => self.note(parent, name, "renameat", e),
        }
    }

    fn note(&mut self, parent: &Dir, name: &OsStr, call: &'static str, errno: Errno) {
        self.errors += 1;
        self.first.get_or_insert_with(|| (parent.path.join(name), call, errno));
    }
}

/// Opens a directory that is to be emptied, with the rights to do so.
fn open_for_removal(parent: &Dir, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let open = |flags| resolved(&parent.fd, name, flags | OFlags::CLOEXEC | OFlags::DIRECTORY, Mode::empty(), resolve);
    let held = open(OFlags::PATH | OFlags::NOFOLLOW)?;
    let mode = rustix::fs::fstat(&held)?.st_mode;
    if mode & 0o700 != 0o700 {
        chmod_by_descriptor(&held, PRIVATE_DIR)?;
    }
    rustix::fs::openat(&held, ".", OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY, Mode::empty())
}
