//! Builds an image once more and compares: with the archive in the store, or with one from elsewhere; and with what was published.

use std::path::{Path, PathBuf};

use crate::attestations;
use crate::build::{build, located, write};
use crate::compare::differences;
use crate::epoch::Epoch;
use crate::inputs::{Inputs, Programs};
use crate::recipe::Recipe;
use crate::store::Store;
use bottle_base::error::Result;

/// The digests that were published with this version: `images/digests`, for the toolchain that it names.
const PUBLISHED: &str = include_str!("../../digests");

/// What became of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The image as it is built here.
    pub digest: String,
    /// What differs, in words; nothing means the same to the last byte.
    pub differences: Vec<String>,
    /// The digest that was published under this name for this architecture, if one was.
    pub published: Option<String>,
}

/// Builds the image again and compares it with its archive, or with the one at `against`.
pub fn verify(recipe: &Recipe, programs: &dyn Programs, epoch: Epoch, images: &Path, against: Option<&Path>) -> Result<Verdict> {
    let inputs = Inputs::read(recipe, programs, epoch)?;
    let mut found = located(recipe, &inputs, programs, images)?;
    if found.is_none() && against.is_none() {
        build(recipe, programs, epoch, images)?;
        found = located(recipe, &inputs, programs, images)?;
    }
    // `build` is not asked where an image is there already: it would write anew what lies beside the archive, and so hide a change.
    let stored = found.filter(|_| against.is_none());
    let store = Store::open(images)?;
    let locked = store.lock()?;
    let (mut file, record) = write(recipe, &inputs, epoch, &locked)?;
    let rebuilt: PathBuf = file.complete()?;
    let (name, other) = match (&stored, against) {
        (Some((store, record)), _) => ("stored", store.path(record)),
        (None, against) => ("given", against.unwrap_or(Path::new("")).to_owned()),
    };
    let mut differences = differences((name, &other), ("rebuilt", &rebuilt)).unwrap_or_else(|why| vec![why]);
    if let Some((store, record)) = stored {
        differences.extend(attestations::check(recipe, &inputs, epoch, (&record.digest, &record.config_digest), &store));
    }
    Ok(Verdict { published: published(&recipe.name, inputs.architecture.name(), PUBLISHED), digest: record.digest, differences })
}

/// The digest of an image in a list as `images/digests` is one: `image NAME ARCHITECTURE DIGEST`.
fn published(name: &str, architecture: &str, list: &str) -> Option<String> {
    list.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["image", its, of, digest] if *its == name && *of == architecture => Some((*digest).to_owned()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_digest_is_found_by_name_and_architecture() {
        let list = "rustc 1.95.0\nimage egress amd64 sha256:aa\nimage egress arm64 sha256:cc\n";
        assert_eq!(published("egress", "arm64", list).as_deref(), Some("sha256:cc"));
        assert_eq!(published("pipelock", "amd64", list), None);
    }
}
