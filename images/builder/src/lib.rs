//! Image archives: read, checked against their digests and unpacked once, as root file systems; and written, so that the same inputs give
//! the same bytes on every machine.
//!
//! ```text
//! image.yaml ─▶ recipe ─▶ tree ─▶ ustar ─▶ oci ─▶ archive in the store ─▶ unpacked, or loaded by an engine
//! ```
//!
//! The first five are pure. What is written depends on the recipe, on the bytes of the programs and files that it names, and on
//! `SOURCE_DATE_EPOCH`; on no clock, owner, mode mask, order of a directory, or name of a machine.

mod archive;
mod attestations;
mod build;
mod compare;
mod directory;
mod epoch;
mod hashed;
mod layer;
mod library;
mod oci;
pub mod path;
pub mod recipe;
mod store;
pub mod tree;
pub mod ustar;
mod verify;

use std::path::{Path, PathBuf};

pub use build::{Archive, Programs, build, existing};
pub use epoch::{Epoch, VARIABLE as EPOCH_VARIABLE};
pub use library::{find, names};
pub use recipe::Recipe;
pub use verify::{Verdict, verify};

use crate::error::{Error, Result};
use crate::files::Dir;
use crate::store::Layout;

/// `sha256:…` of an archive's configuration: what an engine calls the image once it has loaded it.
pub fn config_digest(archive: &Path) -> Result<String> {
    let hint = "name an OCI or Docker image archive (a tar file)";
    let contents =
        archive::read(archive).map_err(|cause| Error::failed(format!("cannot use the image `{}`", archive.display()), cause, hint))?;
    Ok(format!("sha256:{}", contents.id))
}

/// The unpacked image of an archive. It is found by the digest of its configuration, so that an archive is unpacked once, whatever
/// its name; two starts at once do not disturb each other.
pub fn unpacked(archive: &Path, layout: &Layout) -> Result<PathBuf> {
    let failed = |cause: String| {
        Error::failed(
            format!("cannot use the image `{}`", archive.display()),
            cause,
            "name an OCI or Docker image archive (a tar file) under `rootfs.image`",
        )
    };
    let contents = archive::read(archive).map_err(failed)?;
    let store = Dir::create_private(&layout.images)?;
    let name = format!("sha256-{}", contents.id);
    if store.stat(&name)?.is_some() {
        return Ok(store.path().join(name));
    }
    let unfinished = format!(".new-{}", crate::files::random_hex().map_err(|e| failed(e.to_string()))?);
    let tree = store.subdir(&unfinished)?;
    let result = contents.layers.iter().try_for_each(|at| layer::unpack(archive, at, &tree)).map_err(failed);
    let renamed = result.and_then(|()| {
        // The top of a root file system is for everyone, as in the image.
        let public = rustix::fs::fchmod(tree.fd(), rustix::fs::Mode::from_raw_mode(0o755));
        public.and_then(|()| rustix::fs::renameat(store.fd(), &unfinished, store.fd(), &name)).map_err(|e| failed(e.to_string()))
    });
    if let Err(error) = renamed {
        let _ = store.remove_tree(&unfinished);
        // Another start was faster.
        return if store.stat(&name)?.is_some() { Ok(store.path().join(name)) } else { Err(error) };
    }
    Ok(store.path().join(name))
}
