//! The outside of an image archive: which configuration, which layers, and whether each is what its digest says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use bottle_base::digest::sha256_hex;
use serde::Deserialize;

use crate::layer::{self, Span};

/// JSON in an archive is small.
const MAX_JSON_BYTES: u64 = 4 << 20;

/// An image in an archive.
#[derive(Debug)]
pub(crate) struct Contents {
    /// SHA-256 of the configuration, hexadecimal: the image's id.
    pub(crate) id: String,
    /// The configuration.
    pub(crate) config: Vec<u8>,
    /// The layers, lowest first.
    pub(crate) layers: Vec<Span>,
}

/// `manifest.json`, which `docker save` writes and OCI archives may have too.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Docker {
    config: String,
    layers: Vec<String>,
}

/// `index.json` of the OCI image layout.
#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

/// An OCI image manifest.
#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}

/// The part of an image configuration that binds the layers.
#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// Reads an archive with exactly one image.
pub(crate) fn read(path: &Path) -> Result<Contents, String> {
    let mut file = File::open(path).map_err(|e| e.to_string())?;
    let entries = entries(&mut file)?;
    let (config, layers) = names(&mut file, &entries)?;
    let text = json(&mut file, &entries, &config)?;
    let bound: Config = serde_json::from_slice(&text).map_err(|e| format!("{config}: {e}"))?;
    if bound.rootfs.diff_ids.len() != layers.len() {
        return Err(format!("the configuration names {} layers, the manifest {}", bound.rootfs.diff_ids.len(), layers.len()));
    }
    let layers = layers.iter().map(|name| entries.get(name).copied().ok_or(format!("{name} is missing"))).collect::<Result<Vec<_>, _>>()?;
    for (at, expected) in layers.iter().zip(&bound.rootfs.diff_ids) {
        let found = format!("sha256:{}", layer::digest(path, at)?);
        if found != *expected {
            return Err(format!("a layer is {found}, and its configuration says {expected}"));
        }
    }
    Ok(Contents { id: sha256_hex(&text), config: text, layers })
}

fn entries(file: &mut File) -> Result<BTreeMap<String, Span>, String> {
    let mut found = BTreeMap::new();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek().map_err(|e| e.to_string())? {
        let entry = entry.map_err(|e| e.to_string())?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
        found.insert(name, Span { start: entry.raw_file_position(), size: entry.size() });
    }
    Ok(found)
}

fn names(file: &mut File, entries: &BTreeMap<String, Span>) -> Result<(String, Vec<String>), String> {
    if entries.contains_key("manifest.json") {
        let text = json(file, entries, "manifest.json")?;
        let mut images: Vec<Docker> = serde_json::from_slice(&text).map_err(|e| format!("manifest.json: {e}"))?;
        let image = images.pop().filter(|_| images.is_empty()).ok_or("the archive must hold exactly one image")?;
        return Ok((image.config, image.layers));
    }
    let text = json(file, entries, "index.json")?;
    let index: Index = serde_json::from_slice(&text).map_err(|e| format!("index.json: {e}"))?;
    let [image] = index.manifests.as_slice() else { return Err("the archive must hold exactly one image".into()) };
    let text = json(file, entries, &blob(&image.digest)?)?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", image.digest))?;
    Ok((blob(&manifest.config.digest)?, manifest.layers.iter().map(|layer| blob(&layer.digest)).collect::<Result<_, _>>()?))
}

fn blob(digest: &str) -> Result<String, String> {
    digest.strip_prefix("sha256:").map(|hex| format!("blobs/sha256/{hex}")).ok_or(format!("the digest {digest} is not a SHA-256"))
}

fn json(file: &mut File, entries: &BTreeMap<String, Span>, name: &str) -> Result<Vec<u8>, String> {
    let at = entries.get(name).ok_or(format!("{name} is missing"))?;
    if at.size > MAX_JSON_BYTES {
        return Err(format!("{name} is too large"));
    }
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(at.start)).and_then(|_| file.take(at.size).read_to_end(&mut text)).map_err(|e| format!("{name}: {e}"))?;
    if let Some(hex) = name.strip_prefix("blobs/sha256/")
        && sha256_hex(&text) != hex
    {
        return Err(format!("{name} is not what its digest says"));
    }
    Ok(text)
}
