//! Archives of others: which image is in one, and its root file system, unpacked once.

use std::path::{Path, PathBuf};

use bottle_base::error::{Error, Result};
use bottle_base::files::{Dir, random_hex};

use crate::{archive, layer};

/// `sha256:…` of an archive's configuration: what an engine calls the image once it has loaded it.
pub fn config_digest(archive: &Path) -> Result<String> {
    let hint = "name an OCI or Docker image archive (a tar file)";
    let contents =
        archive::read(archive).map_err(|cause| Error::failed(format!("cannot use the image `{}`", archive.display()), cause, hint))?;
    Ok(format!("sha256:{}", contents.id))
}

/// The unpacked image of an archive. It is found by the digest of its configuration, so that an archive is unpacked once, whatever
/// its name; two starts at once do not disturb each other. `is_cancelled` is asked before each entry of a layer.
pub fn unpacked(archive: &Path, images: &Path, is_cancelled: &dyn Fn() -> bool) -> Result<PathBuf> {
    let failed = |cause: String| {
        Error::failed(
            format!("cannot use the image `{}`", archive.display()),
            cause,
            "name an OCI or Docker image archive (a tar file) under `rootfs.image`",
        )
    };
    let contents = archive::read(archive).map_err(failed)?;
    let store = Dir::create_private(images)?;
    let name = format!("sha256-{}", contents.id);
    if store.stat(&name)?.is_some() {
        return Ok(store.path().join(name));
    }
    let unfinished = format!(".new-{}", random_hex().map_err(|e| failed(e.to_string()))?);
    let tree = store.subdir(&unfinished)?;
    let result = contents.layers.iter().try_for_each(|at| layer::unpack(archive, at, &tree, is_cancelled)).map_err(failed);
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
