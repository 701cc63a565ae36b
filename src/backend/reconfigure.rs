//! A sidecar's configuration while it runs, the same in every backend: the directory is mounted, so the sidecar sees a rename in it.

use bottle_contract::Fingerprints;

use super::{ids, provision};
use crate::error::{Error, Result};
use crate::files::PRIVATE;
use crate::plan::Plan;
use crate::store::Claim;

/// Puts the configuration of `plan` in the place of the one that the sidecar has, whole and on disk. The sidecar reads it once it is told.
pub fn replace_configuration(plan: &Plan, component: &str, fingerprints: Option<&Fingerprints>, claim: &Claim) -> Result<()> {
    let sidecar = provision::sidecar(plan, component)?;
    let (name, text) =
        sidecar.config.render(fingerprints).map_err(|e| Error::bug(format!("cannot write the configuration of {component}"), e))?;
    let ids = ids::in_plan(ids::operator(), plan, component);
    let directory = claim.runtime()?.open_subdir(component)?.open_subdir("config")?;
    directory.replace(name, text.as_bytes(), PRIVATE)?;
    provision::give(&directory, &[name], ids)
}
