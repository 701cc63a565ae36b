//! What an image is made from: the programs and their bills of materials, read once, and one key over everything that decides about its
//! bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use bottle_base::digest::sha256_hex;
use bottle_base::error::{Error, Result, Source};
use serde::Serialize;

use crate::epoch::Epoch;
use crate::materials::Materials;
use crate::recipe::{Architecture, Recipe};

/// Part of what an image is made from: raised when the writer writes something else for the same recipe.
const WRITER: u32 = 1;
/// Bytes of a program at most.
const MAX_PROGRAM_BYTES: u64 = 512 << 20;

/// Where the programs of sidecars come from.
pub trait Programs {
    /// Opens the program of a sidecar.
    fn program(&self, component: &str) -> Result<File>;

    /// Opens its bill of materials, if it came with one.
    fn materials(&self, component: &str) -> Option<File>;

    /// The directory with images that came with the programs, if there are any. They are used, and nothing is written there.
    fn images(&self) -> Option<PathBuf> {
        None
    }
}

/// What an image is made from, apart from what lies on the disk under a digest of the recipe's.
pub(crate) struct Inputs {
    pub(crate) architecture: Architecture,
    /// Bytes of each program.
    pub(crate) programs: BTreeMap<String, Vec<u8>>,
    /// The bill of materials of each program that has one.
    pub(crate) materials: BTreeMap<String, Materials>,
    /// SHA-256 of all sources, hexadecimal.
    pub(crate) sources: String,
    /// SHA-256 of all that decides about the image's bytes, hexadecimal.
    pub(crate) key: String,
}

/// What is hashed for [`Inputs::key`].
#[derive(Serialize)]
struct Key<'a> {
    writer: u32,
    name: &'a str,
    recipe: &'a str,
    sources: &'a str,
    architecture: &'static str,
    epoch: u64,
}

impl Inputs {
    /// Reads the programs, and sums up what the image is made from.
    pub(crate) fn read(recipe: &Recipe, find: &dyn Programs, epoch: Epoch) -> Result<Self> {
        let (mut programs, mut materials) = (BTreeMap::new(), BTreeMap::new());
        let mut architecture = None;
        for name in recipe.programs() {
            let mut bytes = Vec::new();
            let read = find.program(name)?.take(MAX_PROGRAM_BYTES + 1).read_to_end(&mut bytes);
            read.map_err(|e| cannot_build(&recipe.name, format!("the program of `{name}`: {e}")))?;
            if bytes.len() as u64 > MAX_PROGRAM_BYTES {
                return Err(cannot_build(&recipe.name, format!("the program of `{name}` is larger than {MAX_PROGRAM_BYTES} bytes")));
            }
            let own = Architecture::of_program(&bytes)
                .ok_or_else(|| cannot_build(&recipe.name, format!("the program of `{name}` is no program for amd64 or arm64")))?;
            if *architecture.get_or_insert(own) != own {
                return Err(cannot_build(&recipe.name, "its programs are for different architectures"));
            }
            if let Some(bill) = find.materials(name).and_then(|file| Materials::read(file, &bytes)) {
                materials.insert(name.to_owned(), bill);
            }
            programs.insert(name.to_owned(), bytes);
        }
        let wished = || if recipe.architectures.len() == 1 { recipe.architectures.first().copied() } else { None };
        let architecture = architecture.or_else(wished).unwrap_or(Architecture::OWN);
        if !recipe.architectures.contains(&architecture) {
            return Err(cannot_build(&recipe.name, format!("the recipe is not meant for {}", architecture.name())));
        }
        let mut sources: BTreeMap<String, String> =
            programs.iter().map(|(name, bytes)| (format!("program {name}"), sha256_hex(bytes))).collect();
        sources.extend(recipe.digests().map(|(name, sha256)| (name, sha256.to_owned())));
        let sources = sha256_hex(&serde_json::to_vec(&sources).expect("texts are JSON"));
        let key = Key {
            writer: WRITER,
            name: &recipe.name,
            recipe: &recipe.sha256,
            sources: &sources,
            architecture: architecture.name(),
            epoch: epoch.seconds(),
        };
        let key = sha256_hex(&serde_json::to_vec(&key).expect("texts and numbers are JSON"));
        Ok(Self { architecture, programs, materials, sources, key })
    }
}

/// The error for what an archive cannot be made from.
pub(crate) fn cannot_build(name: &str, cause: impl Into<Source>) -> Error {
    Error::failed(format!("cannot build the image `{name}`"), cause, "correct the recipe or the files that it names, then build again")
}
