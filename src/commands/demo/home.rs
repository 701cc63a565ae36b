//! The demonstration's own state directory: separate from the operator's, and removed at the end.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, Source};
use crate::files::{Dir, PUBLIC, random_hex};
use crate::store::{Facts, Layout};

/// A temporary directory, and the layout in it.
pub(super) struct Home {
    above: Dir,
    own: Dir,
    name: OsString,
    pub(super) layout: Layout,
}

impl Home {
    pub(super) fn create() -> Result<Self> {
        let temporary = std::env::temp_dir();
        let failed = |e: Source| {
            let what = format!("cannot make a directory in {}", temporary.display());
            Error::failed(what, e, "set TMPDIR to a directory that you can write to")
        };
        // Resolved: the owner of a link could change it.
        let above = Dir::open(&fs::canonicalize(&temporary).map_err(|e| failed(e.into()))?)?;
        let name = OsString::from(format!("bottle-demo-{}", random_hex().map_err(|e| failed(e.into()))?));
        let own = above.make(&name).map_err(|e| failed(e.into()))?;
        let layout = Layout::compute(&Facts { bottle_home: Some(own.path().into()), ..Facts::here() });
        let home = match layout.and_then(|layout| own.subdir("work").map(|_| layout)) {
            Ok(layout) => Self { above, own, name, layout },
            Err(error) => {
                above.remove_tree(&name)?;
                return Err(error);
            }
        };
        Ok(home)
    }

    pub(super) fn path(&self) -> &Path {
        self.own.path()
    }

    /// The working directory of the demonstration.
    pub(super) fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        self.own.write_new(name, text.as_bytes(), PUBLIC)
    }

    /// Removes all of it.
    pub(super) fn remove(self) -> Result<()> {
        for runtime in &self.layout.runtime {
            // Only if empty: leftovers were reported already.
            let _ = fs::remove_dir(runtime);
        }
        self.above.remove_tree(&self.name)
    }
}
