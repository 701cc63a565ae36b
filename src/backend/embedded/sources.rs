//! Trees of the host that root hands to a component which is somebody else: opened by root, seen under the component's own
//! number.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use bottle_init::root::detached;
use bottle_init::spec::{Mount, Source, Spec};
use bottle_init::sys::MountAttributes;

use crate::backend::ids::Ids;
use crate::error::{Error, Result};
use crate::sys::userns;

/// Replaces the paths in a specification by detached mounts, and returns these in the order of their numbers, which
/// start at 1. A component that is the operator opens its paths itself.
pub(super) fn detach(spec: &mut Spec, ids: Ids) -> Result<Vec<OwnedFd>> {
    let mut fds = Vec::new();
    if !ids.foreign {
        return Ok(fds);
    }
    let mut take = |source: &mut Source, read_only: bool, owned: bool| -> Result<()> {
        if let Source::Path(path) = source {
            let tree = open(path, read_only, owned, ids)?;
            fds.push(tree);
            *source = Source::Fd(fds.len());
        }
        Ok(())
    };
    for mount in &mut spec.mounts {
        match mount {
            Mount::Bind { source, writable, .. } => take(source, !*writable, *writable)?,
            Mount::Overlay { lower, changes, .. } => {
                take(lower, true, true)?;
                take(changes, false, true)?;
            }
            _ => {}
        }
    }
    if let Some(source) = &mut spec.image {
        take(source, true, true)?;
    }
    Ok(fds)
}

fn open(path: &Path, read_only: bool, owned: bool, ids: Ids) -> Result<OwnedFd> {
    let failed = |e: std::io::Error| {
        Error::failed(
            format!("cannot hand `{}` to the bottle", path.display()),
            e,
            "bottle as root needs CAP_SYS_ADMIN and a file system that can map owners; an ordinary user needs neither",
        )
    };
    let namespace = if owned {
        let owner = rustix::fs::stat(path).map_err(|e| failed(e.into()))?;
        Some(userns::with_owner((owner.st_uid, owner.st_gid), (ids.uid, ids.gid)).map_err(failed)?)
    } else {
        None
    };
    let idmap = namespace.as_ref().map(|fd| fd.as_fd().as_raw_fd());
    detached(path, MountAttributes { read_only, no_exec: false, idmap }).map_err(failed)
}
