//! What the agent sees of the host, as mounts of its container: the same tools as in the embedded backend, and files of its own in `/etc`.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::names::is_plain_option;
use crate::backend::etc;
use crate::backend::host_tree::Entry;
use crate::backend::ids::Ids;
use crate::backend::mounts::mount_points;
use crate::error::{Error, Result};
use crate::files::{Dir, PUBLIC};
use crate::manifest::model::Rootfs;
use crate::plan::Plan;
use crate::render::compose::{Bind, Tree};

/// The host's tools: directories are seen through overlays, files as they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tools {
    pub(super) trees: Vec<Tree>,
    pub(super) files: Vec<Bind>,
}

/// The host's tools. A link in the host's root is shown as what it leads to: an engine makes no links.
pub(super) fn tools(plan: &Plan, host: &[Entry]) -> Result<Tools> {
    let mounted = mount_points(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    let mut tools = Tools::default();
    let entries = host.iter().filter(|_| plan.rootfs == Rootfs::Host).map(|entry| match entry {
        Entry::Tree(path) | Entry::Link { at: path, .. } => path,
    });
    for at in entries {
        if let Ok(source) = fs::canonicalize(at) {
            tools.add(&source, at, &mounted)?;
        }
    }
    for path in &plan.tools {
        tools.add(path, path, &mounted)?;
    }
    Ok(tools)
}

impl Tools {
    /// Shows a directory with what is mounted below it, or a file.
    fn add(&mut self, source: &Path, target: &Path, mounted: &[PathBuf]) -> Result<()> {
        self.show(source, target)?;
        for point in mounted.iter().filter(|point| *point != source) {
            if let Ok(below) = point.strip_prefix(source)
                && point.exists()
            {
                self.show(point, &target.join(below))?;
            }
        }
        Ok(())
    }

    fn show(&mut self, source: &Path, target: &Path) -> Result<()> {
        let refused = |cause: &str| {
            let hint = "remove it from `tools`, or use the embedded backend";
            Err(Error::failed(format!("cannot show `{}` to an agent in a container", source.display()), cause, hint))
        };
        let kind = fs::metadata(source).map(|meta| meta.file_type());
        if kind.as_ref().is_ok_and(fs::FileType::is_file) {
            self.files.push(Bind::read_only(source, target));
        } else if kind.is_ok_and(|kind| !kind.is_dir()) {
            // Somebody on the host may listen there.
            return refused("it is neither a directory nor a regular file");
        } else if !is_plain_option(source) {
            return refused("a comma, a colon, a quote or a backslash in a path cannot be an option of a mount");
        } else {
            self.trees.push(Tree { source: source.to_owned(), target: target.to_owned() });
        }
        Ok(())
    }
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
