//! What the agent sees of the host, as mounts of its container: the same tools as in the embedded backend, and files of its own in `/etc`.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::backend::etc;
use crate::backend::host_tree::Entry;
use crate::backend::ids::Ids;
use crate::error::Result;
use crate::files::{Dir, PUBLIC};
use crate::manifest::model::Rootfs;
use crate::plan::Plan;
use crate::render::compose::Bind;

/// The host's tools. A link in the host's root is shown as what it leads to: an engine makes no links.
pub(super) fn tools(plan: &Plan, host: &[Entry]) -> Vec<Bind> {
    let mut binds = Vec::new();
    if plan.rootfs == Rootfs::Host {
        for entry in host {
            let at = match entry {
                Entry::Tree(path) => path,
                Entry::Link { at, .. } => at,
            };
            if let Ok(source) = std::fs::canonicalize(at) {
                binds.push(Bind::read_only(source, at));
            }
        }
    }
    binds.extend(plan.tools.iter().map(|path| Bind::read_only(path, path)));
    binds
}

/// Writes the agent's own files of `/etc` below `directory`, and shows them in their places. They do not change while it runs, so that a
/// file of its own may be mounted for each.
pub(super) fn etc(plan: &Plan, ca_pem: &str, ids: Ids, directory: &Dir, address: impl Fn(&str) -> Ipv4Addr) -> Result<Vec<Bind>> {
    let mut binds = Vec::new();
    let mut certificates = PathBuf::new();
    for (target, text) in etc::files(plan, ca_pem, ids.uid, address) {
        let name = Path::new(target).file_name().unwrap_or_default();
        directory.write_new(name, text.as_bytes(), PUBLIC)?;
        let source = directory.path().join(name);
        if target == crate::plan::agent::CA_BUNDLE {
            certificates.clone_from(&source);
        }
        binds.push(Bind::read_only(source, target));
    }
    // The engine itself makes the link `/etc/mtab`.
    let links = etc::LINKS.iter().filter(|(_, to)| to.ends_with("ca-certificates.crt"));
    binds.extend(links.map(|(target, _)| Bind::read_only(&certificates, *target)));
    Ok(binds)
}
