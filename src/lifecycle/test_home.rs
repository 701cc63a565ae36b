//! A bottle's directories, for tests of what happens to them.

use tempfile::TempDir;

use crate::store::{Claim, Facts, Layout};

/// A place for bottles, gone at the end of the test.
pub(super) struct Bottle {
    _home: TempDir,
    _memory: TempDir,
    pub(super) layout: Layout,
}

impl Bottle {
    pub(super) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let facts = Facts {
            bottle_home: Some(home.path().as_os_str().to_owned()),
            runtime_dir: Some(memory.path().as_os_str().to_owned()),
            uid: rustix::process::geteuid().as_raw(),
            ..Facts::default()
        };
        Self { layout: Layout::compute(&facts).unwrap(), _home: home, _memory: memory }
    }

    /// The bottle `web`.
    pub(super) fn claim(&self) -> Claim {
        Claim::new(&self.layout, "web", None).unwrap()
    }
}
