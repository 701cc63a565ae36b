//! What the host's file system offers to an agent whose root is made of it: the facts that the mounts depend on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::plan::program::TREES;

/// A name in the host's root: a directory, or a link as on systems with a merged `/usr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A directory or file to show.
    Tree(PathBuf),
    /// A link to repeat.
    Link {
        /// Where it is.
        at: PathBuf,
        /// Where it leads, verbatim.
        to: PathBuf,
    },
}

/// What programs need of `/etc`, and nothing that names people, hosts or secrets. Passwords, keys, network and
/// service configuration stay out; users, hosts and certificates are written anew.
const ETC: [&str; 20] = [
    "/etc/alternatives",
    "/etc/ca-certificates.conf",
    "/etc/debian_version",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/java-17-openjdk",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/lsb-release",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/os-release",
    "/etc/perl",
    "/etc/protocols",
    "/etc/python3",
    "/etc/services",
    "/etc/terminfo",
    "/etc/ssl/openssl.cnf",
];

/// Looks at the host.
pub fn read() -> Vec<Entry> {
    TREES.iter().chain(&ETC).filter_map(|path| entry(Path::new(path))).collect()
}

fn entry(path: &Path) -> Option<Entry> {
    let meta = fs::symlink_metadata(path).ok()?;
    if !meta.file_type().is_symlink() {
        return Some(Entry::Tree(path.to_owned()));
    }
    let to = fs::read_link(path).ok()?;
    // A link out of what is shown would dangle; what it leads to is shown in its place.
    let inside = ["/usr", "usr", "/etc", "/nix/store", "/run/current-system"].iter().any(|shown| to.starts_with(shown));
    if inside || path.starts_with("/etc") && to.starts_with("../usr") {
        Some(Entry::Link { at: path.to_owned(), to })
    } else {
        fs::canonicalize(path).is_ok().then(|| Entry::Tree(path.to_owned()))
    }
}
