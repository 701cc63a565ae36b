//! Which backend makes a bottle, and of which images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::backend::kind::Kind;
use crate::backend::sidecar_programs::Installed;
use crate::backend::{Archive, Images};
use crate::error::{Error, Result};
use crate::manifest::model::{self, Resolved, Rootfs};
use crate::plan::Plan;
use crate::plan::agent::AGENT;
use crate::signals;
use crate::store::Layout;

/// Names the backend.
const BACKEND_VARIABLE: &str = "BOTTLE_BACKEND";

/// Who makes the bottle: the command line says it, else the environment, else the manifest.
pub(super) fn kind(argument: Option<Kind>, resolved: &Resolved) -> Result<Kind> {
    if let Some(kind) = argument {
        return Ok(kind);
    }
    match std::env::var(BACKEND_VARIABLE) {
        Ok(name) if !name.is_empty() => Kind::from_str(&name, false).map_err(|_| {
            let name = bottle_contract::Untrusted::new(&name).to_string();
            Error::usage(
                format!("{BACKEND_VARIABLE} is `{name}`"),
                "there is no such backend",
                "set it to `embedded` or `compose`, or unset it",
            )
        }),
        _ => Ok(match resolved.bottle.backend {
            model::Backend::Embedded => Kind::Embedded,
            model::Backend::Compose => Kind::Compose,
        }),
    }
}

/// What the components' roots are made of, where it is not the host's own tree. Builds, loads or unpacks what is missing.
pub(super) fn images(kind: Kind, plan: &Plan, layout: &Layout) -> Result<Images> {
    let root = |archive: &PathBuf| bottle_builder::unpacked(archive, &layout.images, &|| signals::asked().is_some());
    Ok(match (kind, &plan.rootfs) {
        (Kind::Compose, _) => Images { root: None, archives: archives(plan, layout)? },
        (Kind::Embedded, Rootfs::Image(archive)) => Images { root: Some(root(archive)?), archives: BTreeMap::new() },
        (Kind::Embedded, Rootfs::Host) => Images::default(),
    })
}

/// The images of all components, for an engine. `BOTTLE_IMAGE_EGRESS=FILE` names another archive, and so for each component.
fn archives(plan: &Plan, layout: &Layout) -> Result<BTreeMap<String, Archive>> {
    let epoch = bottle_builder::Epoch::parse(std::env::var_os(bottle_builder::EPOCH_VARIABLE).as_deref())?;
    let of_file = |path: &Path| -> Result<Archive> { Ok(Archive { id: bottle_builder::config_digest(path)?, path: path.to_owned() }) };
    let mut archives = BTreeMap::new();
    for component in std::iter::once(AGENT).chain(plan.sidecars.iter().map(|s| s.component.as_str())) {
        let named = std::env::var_os(format!("BOTTLE_IMAGE_{}", component.to_ascii_uppercase().replace('-', "_")));
        let archive = match (named, &plan.rootfs) {
            (Some(path), _) => of_file(Path::new(&path))?,
            (None, Rootfs::Image(path)) if component == AGENT => of_file(path)?,
            (None, _) => {
                let recipe = bottle_builder::find(if component == AGENT { "agent-host" } else { component }, &layout.config)?;
                let built = bottle_builder::build(&recipe, &Installed, epoch, &layout.images)?;
                Archive { id: built.config_digest, path: built.path }
            }
        };
        archives.insert(component.to_owned(), archive);
    }
    Ok(archives)
}
