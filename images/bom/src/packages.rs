//! The packages that a program is made of, as cargo resolved them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Node, Package, PackageId};
use serde::Deserialize;

/// A resolved workspace.
pub(crate) struct Resolved {
    metadata: Metadata,
    checksums: BTreeMap<(String, String), String>,
    /// SHA-256 of Cargo.lock, hexadecimal.
    pub(crate) lock: String,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

impl Resolved {
    /// Asks cargo, offline, for what Cargo.lock says of this target.
    pub(crate) fn read(target: &str) -> anyhow::Result<Self> {
        let options = ["--locked", "--offline", "--filter-platform", target].map(str::to_owned);
        let metadata = MetadataCommand::new().other_options(options).exec()?;
        let file = metadata.workspace_root.join("Cargo.lock");
        let text = std::fs::read_to_string(&file).with_context(|| file.to_string())?;
        let lock: Lock = toml::from_str(&text).with_context(|| file.to_string())?;
        let checksums = lock.package.into_iter().filter_map(|p| Some(((p.name, p.version), p.checksum?))).collect();
        Ok(Self { metadata, checksums, lock: super::bill::sha256(text.as_bytes()) })
    }

    /// The package of a program.
    pub(crate) fn root(&self, name: &str) -> anyhow::Result<&Package> {
        let members = self.metadata.workspace_packages();
        members.into_iter().find(|package| package.name == name).with_context(|| format!("no package is called {name}"))
    }

    /// What a package is built from and with, itself included, by name and version; and for each, what it needs.
    pub(crate) fn below(&self, root: &Package) -> BTreeMap<String, (&Package, BTreeSet<String>)> {
        let nodes: BTreeMap<&PackageId, &Node> = self.metadata.resolve.iter().flat_map(|r| &r.nodes).map(|node| (&node.id, node)).collect();
        let (mut found, mut ahead) = (BTreeMap::new(), vec![&root.id]);
        while let Some(id) = ahead.pop() {
            let package = &self.metadata[id];
            let needs: Vec<&PackageId> = nodes[id]
                .deps
                .iter()
                .filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development))
                .map(|dep| &dep.pkg)
                .collect();
            let names = needs.iter().map(|id| reference(&self.metadata[*id])).collect();
            if found.insert(reference(package), (package, names)).is_none() {
                ahead.extend(needs);
            }
        }
        found
    }

    /// What Cargo.lock says the package's archive is.
    pub(crate) fn checksum(&self, package: &Package) -> Option<&str> {
        self.checksums.get(&(package.name.to_string(), package.version.to_string())).map(String::as_str)
    }
}

/// A name that no other package of the workspace has.
pub(crate) fn reference(package: &Package) -> String {
    format!("{}@{}", package.name, package.version)
}
