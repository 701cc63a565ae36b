//! Builds an image: looks whether it is there already, writes its layers, then the archive around them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use bottle_base::digest::sha256_hex;
use bottle_base::error::{Error, Result};
use flate2::read::MultiGzDecoder;
use serde::Serialize;

use crate::attestations;
use crate::directory;
use crate::epoch::Epoch;
use crate::hashed::{Hashed, HashedRead};
use crate::inputs::{Inputs, Programs, cannot_build};
use crate::layer;
use crate::oci::{self, Documents};
use crate::path::{EntryPath, Names};
use crate::recipe::{LayerRecipe, Recipe};
use crate::store::{Locked, Record, Store, Unfinished, archive_name};
use crate::tree::{Content, Node, Tree};
use crate::ustar::{Common, Kind, Writer};

/// Unpacked bytes of an archive at most; a tar header holds no more either.
const MAX_LAYER_BYTES: u64 = 8 << 30;

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Archive {
    /// The recipe's name.
    pub name: String,
    /// `sha256:…` of the image manifest.
    pub digest: String,
    /// `sha256:…` of the image configuration: what Docker calls the image's id.
    pub config_digest: String,
    /// What the image is called after `docker load`.
    pub reference: String,
    /// Bytes of the archive.
    pub size: u64,
    /// The archive: an OCI image layout that `docker load` reads too.
    pub path: PathBuf,
}

/// The image of a recipe. It is built only if nothing was built from the same inputs before.
pub fn build(recipe: &Recipe, programs: &dyn Programs, epoch: Epoch, images: &Path) -> Result<Archive> {
    let inputs = Inputs::read(recipe, programs, epoch)?;
    if let Some((store, record)) = shipped(recipe, &inputs, programs)? {
        return Ok(found(recipe, &store, record));
    }
    let store = Store::open(images)?;
    if let Some(record) = store.built(&recipe.name, &inputs.key)?
        && attestations::is_complete(recipe, &inputs, epoch, (&record.digest, &record.config_digest), &store)
    {
        return Ok(found(recipe, &store, record));
    }
    let locked = store.lock()?;
    // Another build may have been faster.
    let record = match store.built(&recipe.name, &inputs.key)? {
        Some(record) => record,
        None => {
            let (file, record) = write(recipe, &inputs, epoch, &locked)?;
            file.keep(&archive_name(&record.digest))?;
            locked.remember(&recipe.name, &inputs.key, &record)?;
            record
        }
    };
    attestations::write(recipe, &inputs, epoch, (&record.digest, &record.config_digest), &locked)?;
    Ok(found(recipe, &store, record))
}

/// The image of a recipe if it is there.
pub fn existing(recipe: &Recipe, programs: &dyn Programs, epoch: Epoch, images: &Path) -> Result<Option<Archive>> {
    let inputs = Inputs::read(recipe, programs, epoch)?;
    Ok(located(recipe, &inputs, programs, images)?.map(|(store, record)| found(recipe, &store, record)))
}

/// Where the image of these inputs is, if it is anywhere.
pub(crate) fn located(recipe: &Recipe, inputs: &Inputs, programs: &dyn Programs, images: &Path) -> Result<Option<(Store, Record)>> {
    if let Some(shipped) = shipped(recipe, inputs, programs)? {
        return Ok(Some(shipped));
    }
    let Some(store) = Store::existing(images)? else { return Ok(None) };
    Ok(store.built(&recipe.name, &inputs.key)?.map(|record| (store, record)))
}

/// The image of these inputs among those that came with the programs.
fn shipped(recipe: &Recipe, inputs: &Inputs, programs: &dyn Programs) -> Result<Option<(Store, Record)>> {
    let Some(store) = programs.images().and_then(|directory| Store::shipped(&directory)) else { return Ok(None) };
    Ok(store.built(&recipe.name, &inputs.key)?.map(|record| (store, record)))
}

fn found(recipe: &Recipe, store: &Store, record: Record) -> Archive {
    let path = store.path(&record);
    let Record { digest, config_digest, reference, size } = record;
    Archive { name: recipe.name.clone(), digest, config_digest, reference, size, path }
}

/// Writes the archive, and what is known of it.
pub(crate) fn write<'s>(recipe: &Recipe, inputs: &Inputs, epoch: Epoch, locked: &'s Locked<'_>) -> Result<(Unfinished<'s>, Record)> {
    let failed = |why: String| cannot_build(&recipe.name, why);
    // One for all layers: they end up in one directory.
    let mut names = Names::default();
    let written = recipe.layers.iter().map(|layer| layer_file(layer, inputs, epoch, &mut names, locked).map_err(&failed));
    let written: Vec<(Unfinished<'_>, oci::Layer)> = written.collect::<Result<_>>()?;
    let layers: Vec<oci::Layer> = written.iter().map(|(_, layer)| layer.clone()).collect();
    let documents = oci::documents(recipe, inputs.architecture.name(), epoch, &inputs.sources, &layers);
    let mut out = locked.file()?;
    let files = written.iter().map(|(file, layer)| Ok((layer, locked.store.open_file(file.name())?))).collect::<Result<Vec<_>>>()?;
    let size = archive(&documents, files, epoch, &mut out).map_err(|e| failed(e.to_string()))?;
    let config_sha256 = sha256_hex(&documents.config);
    let (repository, tag) = oci::reference(&recipe.name, &config_sha256);
    let record = Record {
        digest: format!("sha256:{}", sha256_hex(&documents.manifest)),
        config_digest: format!("sha256:{config_sha256}"),
        reference: format!("{repository}:{tag}"),
        size,
    };
    Ok((out, record))
}

/// Writes a layer to a file of its own: its digest must be known before the documents that name it.
fn layer_file<'s>(
    recipe: &LayerRecipe,
    inputs: &Inputs,
    epoch: Epoch,
    names: &mut Names,
    locked: &'s Locked<'_>,
) -> Result<(Unfinished<'s>, oci::Layer), String> {
    let file = || locked.file().map_err(|e: Error| e.cause);
    match recipe {
        LayerRecipe::Made { owner, tree, programs } => {
            let mut tree = tree.clone();
            for (path, name) in programs {
                let content = Content::Bytes(inputs.programs.get(name).cloned().unwrap_or_default());
                tree.add(path.clone(), Node::File { content, executable: true, setuid: false })?;
            }
            let whose: Vec<&str> = programs.values().map(String::as_str).collect();
            let from = if whose.is_empty() { "directories".to_owned() } else { format!("program {}", whose.join(", ")) };
            tar(&tree, Common { owner: *owner, mtime: epoch.seconds() }, names, file()?, from)
        }
        LayerRecipe::Directory { path, sha256: expected, owner, setuid } => {
            let explain = |why: String| format!("the directory {}: {why}", shown(path));
            let mut tree = directory::tree(path).map_err(explain)?;
            setuid.iter().try_for_each(|path| tree.set_uid(path)).map_err(explain)?;
            let (file, layer) =
                tar(&tree, Common { owner: *owner, mtime: epoch.seconds() }, names, file()?, format!("directory sha256:{expected}"))
                    .map_err(explain)?;
            match layer.sha256 == *expected {
                true => Ok((file, layer)),
                false => Err(explain(format!("as a layer it is sha256:{}, and the recipe says sha256:{expected}", layer.sha256))),
            }
        }
        LayerRecipe::Archive { path, sha256: expected } => {
            let explain = |why: String| format!("the archive {}: {why}", shown(path));
            let (file, layer) = foreign(path, expected, file()?).map_err(explain)?;
            let whole = locked.store.open_file(file.name()).map_err(|e| e.cause)?;
            layer::check(whole).map_err(explain)?;
            Ok((file, layer))
        }
    }
}

fn tar<'s>(
    tree: &Tree,
    common: Common,
    names: &mut Names,
    file: Unfinished<'s>,
    from: String,
) -> Result<(Unfinished<'s>, oci::Layer), String> {
    let mut out = Writer::new(Hashed::new(file), common);
    for (path, node) in tree.entries() {
        names.add(path)?;
        let put = match node {
            Node::Directory => out.put(path, Kind::Directory, &mut io::empty()),
            Node::Link(target) => out.put(path, Kind::Link(target), &mut io::empty()),
            Node::File { content, executable, setuid } => {
                let kind = Kind::File { size: content.size(), executable: *executable, setuid: *setuid };
                match content {
                    Content::Bytes(bytes) => out.put(path, kind, &mut bytes.as_slice()),
                    Content::File(at, _) => File::open(at).and_then(|mut file| out.put(path, kind, &mut file)),
                }
            }
        };
        put.map_err(|e| e.to_string())?;
    }
    finish(out.finish().map_err(|e| e.to_string())?, from)
}

fn finish(out: Hashed<Unfinished<'_>>, from: String) -> Result<(Unfinished<'_>, oci::Layer), String> {
    let (mut file, sha256, size) = out.finish();
    file.flush().map_err(|e| e.to_string())?;
    Ok((file, oci::Layer { sha256, size, from }))
}

/// Takes somebody else's archive as it is, without its compression.
fn foreign<'s>(path: &Path, expected: &str, file: Unfinished<'s>) -> Result<(Unfinished<'s>, oci::Layer), String> {
    let io = |e: io::Error| e.to_string();
    let mut archive = BufReader::with_capacity(256 * 1024, HashedRead::new(File::open(path).map_err(io)?));
    let is_gzip = archive.fill_buf().map_err(io)?.starts_with(&[0x1f, 0x8b]);
    let mut out = Hashed::new(file);
    let plain: &mut dyn Read = if is_gzip { &mut MultiGzDecoder::new(&mut archive) } else { &mut archive };
    let unpacked = io::copy(&mut plain.take(MAX_LAYER_BYTES + 1), &mut out);
    // What follows the compressed data belongs to the file's digest too, and a wrong digest explains what could not be unpacked.
    io::copy(&mut archive, &mut io::sink()).map_err(io)?;
    let found = archive.into_inner().finish();
    if found != expected {
        return Err(format!("it is sha256:{found}, and the recipe says sha256:{expected}"));
    }
    if unpacked.map_err(io)? > MAX_LAYER_BYTES {
        return Err(format!("more than {MAX_LAYER_BYTES} bytes"));
    }
    finish(out, format!("archive sha256:{expected}"))
}

/// Writes the archive around the layers, and tells its size.
fn archive(documents: &Documents, layers: Vec<(&oci::Layer, File)>, epoch: Epoch, out: &mut dyn Write) -> io::Result<u64> {
    enum Part<'a> {
        Directory,
        Text(&'a [u8]),
        Layer(File, u64),
    }
    let mut parts: BTreeMap<String, Part<'_>> = BTreeMap::new();
    parts.insert("blobs/".into(), Part::Directory);
    parts.insert("blobs/sha256/".into(), Part::Directory);
    for text in [&documents.config, &documents.manifest] {
        parts.insert(oci::blob(&sha256_hex(text)), Part::Text(text));
    }
    for (layer, file) in layers {
        // Two layers with the same bytes are one blob.
        parts.insert(oci::blob(&layer.sha256), Part::Layer(file, layer.size));
    }
    parts.insert("index.json".into(), Part::Text(&documents.index));
    parts.insert("manifest.json".into(), Part::Text(&documents.docker));
    parts.insert("oci-layout".into(), Part::Text(&documents.layout));
    let mut tar = Writer::new(Hashed::new(out), Common { owner: 0, mtime: epoch.seconds() });
    for (name, part) in parts {
        let path = EntryPath::new(name.trim_end_matches('/')).map_err(io::Error::other)?;
        let file = |size| Kind::File { size, executable: false, setuid: false };
        match part {
            Part::Directory => tar.put(&path, Kind::Directory, &mut io::empty())?,
            Part::Text(mut text) => tar.put(&path, file(text.len() as u64), &mut text)?,
            Part::Layer(mut content, size) => tar.put(&path, file(size), &mut content)?,
        }
    }
    Ok(tar.finish()?.finish().2)
}

fn shown(path: &Path) -> String {
    bottle_contract::Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string()
}
