//! What lies beside an archive: the bill of materials of each program in it, as it came with the program, and the provenance, which says
//! from what the image was made and what it became.

use std::collections::BTreeMap;

use bottle_base::digest::sha256_hex;
use bottle_base::error::Result;
use bottle_base::files::PRIVATE;
use serde::Serialize;

use crate::epoch::Epoch;
use crate::inputs::Inputs;
use crate::materials::MAX_BILL_BYTES;
use crate::recipe::Recipe;
use crate::store::{Locked, Store, archive_name};

/// Bytes of a document at most.
const MAX_FILE_BYTES: u64 = MAX_BILL_BYTES;

/// The name of a document beside an archive.
pub(crate) fn file_name(digest: &str, suffix: &str) -> String {
    archive_name(digest).replace(".tar", suffix)
}

/// An in-toto statement (v1) with a SLSA provenance predicate (v1). No time but the epoch, no host, no user: whoever builds the same image
/// writes the same statement.
#[derive(Serialize)]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: [Resource<'a>; 2],
    #[serde(rename = "predicateType")]
    predicate_kind: &'static str,
    predicate: Predicate<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Predicate<'a> {
    build_definition: Definition<'a>,
    run_details: Details,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Definition<'a> {
    build_type: &'static str,
    external_parameters: BTreeMap<&'static str, String>,
    internal_parameters: BTreeMap<String, String>,
    resolved_dependencies: Vec<Resource<'a>>,
}

#[derive(Serialize)]
struct Resource<'a> {
    name: std::borrow::Cow<'a, str>,
    digest: Digest,
}

#[derive(Serialize)]
struct Digest {
    sha256: String,
}

#[derive(Serialize)]
struct Details {
    builder: Builder,
}

#[derive(Serialize)]
struct Builder {
    id: &'static str,
    version: BTreeMap<&'static str, &'static str>,
}

fn resource<'a>(name: impl Into<std::borrow::Cow<'a, str>>, sha256: &str) -> Resource<'a> {
    Resource { name: name.into(), digest: Digest { sha256: sha256.trim_start_matches("sha256:").to_owned() } }
}

/// The provenance of an image.
fn provenance(recipe: &Recipe, inputs: &Inputs, epoch: Epoch, image: (&str, &str)) -> Vec<u8> {
    let mut from = vec![resource("image.yaml", &recipe.sha256)];
    let mut facts = BTreeMap::new();
    for (name, program) in &inputs.programs {
        from.push(resource(format!("bottle-{name}"), &sha256_hex(program)));
        if let Some(materials) = inputs.materials.get(name) {
            from.push(resource(format!("bottle-{name}.cdx.json"), &sha256_hex(&materials.text)));
            facts.extend(materials.facts.iter().map(|(fact, value)| (format!("{name}:{fact}"), value.clone())));
        }
    }
    from.extend(recipe.digests().map(|(name, sha256)| resource(name, sha256)));
    let statement = Statement {
        kind: "https://in-toto.io/Statement/v1",
        subject: [resource(&*recipe.name, image.0), resource(format!("{} (configuration)", recipe.name), image.1)],
        predicate_kind: "https://slsa.dev/provenance/v1",
        predicate: Predicate {
            build_definition: Definition {
                build_type: "urn:bottle:images:build:1",
                external_parameters: BTreeMap::from([
                    ("architecture", inputs.architecture.name().to_owned()),
                    ("epoch", epoch.seconds().to_string()),
                    ("recipe", recipe.name.clone()),
                ]),
                internal_parameters: facts,
                resolved_dependencies: from,
            },
            run_details: Details {
                builder: Builder { id: "urn:bottle:images", version: BTreeMap::from([("bottle", env!("CARGO_PKG_VERSION"))]) },
            },
        },
    };
    let mut text = serde_json::to_vec_pretty(&statement).expect("texts are JSON");
    text.push(b'\n');
    text
}

/// All that belongs beside an archive: names and contents.
fn documents(recipe: &Recipe, inputs: &Inputs, epoch: Epoch, image: (&str, &str)) -> BTreeMap<String, Vec<u8>> {
    let bills = inputs.materials.iter().map(|(name, materials)| {
        let suffix = format!(".bottle-{name}.cdx.json");
        (file_name(image.0, &suffix), materials.text.clone())
    });
    let provenance = (file_name(image.0, ".provenance.json"), provenance(recipe, inputs, epoch, image));
    bills.chain([provenance]).collect()
}

/// Whether all of it is there.
pub(crate) fn is_complete(recipe: &Recipe, inputs: &Inputs, epoch: Epoch, image: (&str, &str), store: &Store) -> bool {
    documents(recipe, inputs, epoch, image).iter().all(|(name, text)| is(store, name, text))
}

/// Writes what is missing beside an archive, or was written with other materials.
pub(crate) fn write(recipe: &Recipe, inputs: &Inputs, epoch: Epoch, image: (&str, &str), locked: &Locked<'_>) -> Result<()> {
    let documents = documents(recipe, inputs, epoch, image);
    let missing = documents.iter().filter(|(name, text)| !is(locked.store, name, text));
    missing.into_iter().try_for_each(|(name, text)| locked.store.directory().replace(name, text, PRIVATE))
}

fn is(store: &Store, name: &str, text: &[u8]) -> bool {
    store.directory().read_bounded(name, MAX_FILE_BYTES).is_ok_and(|found| found == text)
}

/// What is wrong beside an archive, in words.
pub(crate) fn check(recipe: &Recipe, inputs: &Inputs, epoch: Epoch, image: (&str, &str), store: &Store) -> Vec<String> {
    let expected = documents(recipe, inputs, epoch, image);
    let wrong = |(name, text): (String, Vec<u8>)| match store.directory().read_bounded(&name, MAX_FILE_BYTES) {
        Ok(found) if found == text => None,
        Ok(_) => Some(format!("{name} does not say what the image was made from")),
        Err(error) => Some(format!("{name} is missing: {}", error.cause)),
    };
    expected.into_iter().filter_map(wrong).collect()
}
