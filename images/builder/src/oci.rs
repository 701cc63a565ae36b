//! The documents of an image (OCI image specification 1.1), as structs whose fields have an order: compact JSON, no floats, sorted
//! labels, and nothing of the machine that writes them. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::epoch::Epoch;
use crate::recipe::Recipe;
use bottle_base::digest::sha256_hex;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Uncompressed: no two implementations of gzip agree on a byte.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The operating system of every image.
pub(crate) const OS: &str = "linux";

/// A layer that has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    /// SHA-256 of the plain tar, hexadecimal.
    pub(crate) sha256: String,
    /// Its bytes.
    pub(crate) size: u64,
    /// What it was made from, for the history.
    pub(crate) from: String,
}

/// Where a component of an image lies: its type, digest and size.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<&'static str, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
}

#[derive(Clone, Debug, Serialize)]
struct Platform {
    architecture: &'static str,
    os: &'static str,
}

#[derive(Serialize)]
struct Configuration<'a> {
    created: String,
    architecture: &'static str,
    os: &'static str,
    config: Execution<'a>,
    rootfs: RootFs,
    history: Vec<History<'a>>,
}

/// How a container of the image runs. Absent on purpose: exposed ports, volumes, health checks and signals, which would make an engine
/// do what no plan says.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Execution<'a> {
    user: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    env: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    entrypoint: &'a [String],
    working_dir: &'a str,
    labels: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct RootFs {
    r#type: &'static str,
    diff_ids: Vec<String>,
}

#[derive(Serialize)]
struct History<'a> {
    created: String,
    created_by: &'static str,
    comment: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    media_type: &'static str,
    manifests: [Descriptor; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LayoutVersion {
    image_layout_version: &'static str,
}

/// `manifest.json`, by which `docker load` finds its way in the same archive.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Docker {
    config: String,
    repo_tags: [String; 1],
    layers: Vec<String>,
}

/// The small documents of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Documents {
    /// The image configuration; its digest is what Docker calls the image's id.
    pub(crate) config: Vec<u8>,
    /// The image manifest; its digest is the image's digest.
    pub(crate) manifest: Vec<u8>,
    /// `index.json`, the only place beside `manifest.json` that knows the tag.
    pub(crate) index: Vec<u8>,
    /// `manifest.json`.
    pub(crate) docker: Vec<u8>,
    /// `oci-layout`.
    pub(crate) layout: Vec<u8>,
}

/// What an image is called after it is loaded. `localhost` is nobody's registry, so that a missing image is never asked for elsewhere;
/// the tag is the beginning of the id, so that two versions never share a name.
pub(crate) fn reference(name: &str, config_sha256: &str) -> (String, String) {
    (format!("localhost/bottle/{name}"), config_sha256[..16].to_owned())
}

/// The documents of an image with these layers.
pub(crate) fn documents(recipe: &Recipe, architecture: &'static str, epoch: Epoch, sources: &str, layers: &[Layer]) -> Documents {
    let mut labels = recipe.labels.clone();
    labels.insert("bottle.recipe".into(), format!("sha256:{}", recipe.sha256));
    labels.insert("bottle.source".into(), format!("sha256:{sources}"));
    labels.insert("org.opencontainers.image.title".into(), recipe.title.clone());
    let config = json(&Configuration {
        created: epoch.text(),
        architecture,
        os: OS,
        config: Execution {
            user: format!("{}:{}", recipe.user, recipe.user),
            env: &recipe.env,
            entrypoint: &recipe.entrypoint,
            working_dir: &recipe.workdir,
            labels,
        },
        rootfs: RootFs { r#type: "layers", diff_ids: layers.iter().map(|layer| format!("sha256:{}", layer.sha256)).collect() },
        history: layers.iter().map(|layer| History { created: epoch.text(), created_by: "bottle", comment: &layer.from }).collect(),
    });
    let described = |media_type, sha256: &str, size| Descriptor {
        media_type,
        digest: format!("sha256:{sha256}"),
        size,
        annotations: None,
        platform: None,
    };
    let config_sha256 = sha256_hex(&config);
    let manifest = json(&Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config: described(CONFIG, &config_sha256, config.len() as u64),
        layers: layers.iter().map(|layer| described(LAYER, &layer.sha256, layer.size)).collect(),
    });
    let (repository, tag) = reference(&recipe.name, &config_sha256);
    let index = json(&Index {
        schema_version: 2,
        media_type: INDEX,
        manifests: [Descriptor {
            annotations: Some(BTreeMap::from([("org.opencontainers.image.ref.name", tag.clone())])),
            platform: Some(Platform { architecture, os: OS }),
            ..described(MANIFEST, &sha256_hex(&manifest), manifest.len() as u64)
        }],
    });
    let docker = json(&[Docker {
        config: blob(&config_sha256),
        repo_tags: [format!("{repository}:{tag}")],
        layers: layers.iter().map(|layer| blob(&layer.sha256)).collect(),
    }]);
    Documents { config, manifest, index, docker, layout: json(&LayoutVersion { image_layout_version: "1.0.0" }) }
}

/// Where a blob lies in the archive.
pub(crate) fn blob(sha256: &str) -> String {
    format!("blobs/sha256/{sha256}")
}

fn json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("strings, numbers and maps with string keys are JSON")
}
