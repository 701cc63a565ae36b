//! What the tests of the image writer share: recipes, a program that is one by its first bytes, and archives taken apart by hand.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use bottle_base::error::{Error, Result};
use bottle_builder::{Archive, Epoch, Recipe};
use tempfile::TempDir;

/// The first bytes of an ELF program for amd64, and no more of one than the writer looks at.
pub(crate) fn elf(rest: &str) -> Vec<u8> {
    [b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00", rest.as_bytes()].concat()
}

/// The head of a recipe; its layers follow.
pub(crate) const HEAD: &str = "version: 1\ntitle: A test\narchitectures: [amd64]\nuser: 1000\n";

/// The file that is the program of the sidecar `tool`; what has its name and `.cdx.json` is its bill of materials.
pub(crate) struct Tool(pub(crate) PathBuf);

impl bottle_builder::Programs for Tool {
    fn program(&self, component: &str) -> Result<File> {
        match component {
            "tool" => Ok(File::open(&self.0).unwrap()),
            component => Err(Error::failed(format!("no program `{component}`"), "test", "test")),
        }
    }

    fn materials(&self, _: &str) -> Option<File> {
        File::open(self.0.with_extension("cdx.json")).ok()
    }

    fn images(&self) -> Option<PathBuf> {
        Some(self.0.with_extension("images"))
    }
}

/// A place with an own store.
pub(crate) struct Lab {
    pub(crate) directory: TempDir,
    pub(crate) program: Vec<u8>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::at(&std::env::temp_dir())
    }

    pub(crate) fn at(base: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("bottle-image-").tempdir_in(base).unwrap();
        Self { directory, program: elf("the program") }
    }

    /// The operator's configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    /// The directory of images.
    pub(crate) fn images(&self) -> PathBuf {
        self.directory.path().join("images")
    }

    /// The recipe with these layers, as a user's own beside `self.files()`.
    pub(crate) fn recipe(&self, layers: &str) -> Recipe {
        self.try_recipe(&format!("{HEAD}layers:\n{layers}")).unwrap()
    }

    pub(crate) fn try_recipe(&self, text: &str) -> Result<Recipe> {
        let directory = self.files();
        fs::write(directory.join("image.yaml"), text).unwrap();
        bottle_builder::find("test", &self.config())
    }

    /// The directory of the recipe.
    pub(crate) fn files(&self) -> PathBuf {
        let directory = self.config().join("images/test");
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    pub(crate) fn build(&self, recipe: &Recipe) -> Result<Archive> {
        self.build_at(recipe, Epoch::default())
    }

    pub(crate) fn build_at(&self, recipe: &Recipe, epoch: Epoch) -> Result<Archive> {
        let file = self.directory.path().join("program");
        fs::write(&file, &self.program).unwrap();
        bottle_builder::build(recipe, &Tool(file), epoch, &self.images())
    }

    pub(crate) fn verify(&self, recipe: &Recipe, against: Option<&Path>) -> Result<bottle_builder::Verdict> {
        bottle_builder::verify(recipe, &Tool(self.directory.path().join("program")), Epoch::default(), &self.images(), against)
    }

    /// The image of a directory: the digest that its recipe needs is taken from the error of a first attempt.
    pub(crate) fn build_directory(&self, name: &str, more: &str) -> Result<Archive> {
        let with = |sha256: &str| self.recipe(&format!("  - directory:\n      path: {name}\n      sha256: {sha256}\n{more}"));
        let error = self.build(&with(&"0".repeat(64))).unwrap_err();
        match error.cause.split_once("as a layer it is sha256:") {
            Some((_, rest)) => self.build(&with(&rest[..64])),
            None => Err(error),
        }
    }
}

/// An entry of a tar archive, each field of its header as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) name: String,
    pub(crate) mode: String,
    pub(crate) uid: String,
    pub(crate) gid: String,
    pub(crate) mtime: String,
    pub(crate) kind: char,
    pub(crate) target: String,
    pub(crate) magic: Vec<u8>,
    pub(crate) names: Vec<u8>,
    pub(crate) content: Vec<u8>,
}

/// Takes a tar archive apart by the offsets of POSIX.1-1988; gives the entries and what follows the last.
pub(crate) fn taken_apart(bytes: &[u8]) -> (Vec<Raw>, Vec<u8>) {
    let text = |field: &[u8]| String::from_utf8(field.split(|b| *b == 0).next().unwrap().to_vec()).unwrap();
    let (mut entries, mut at) = (Vec::new(), 0);
    while bytes[at..at + 512] != [0; 512] {
        let header = &bytes[at..at + 512];
        let sum: u32 = header.iter().enumerate().map(|(n, b)| if (148..156).contains(&n) { 32 } else { u32::from(*b) }).sum();
        assert_eq!(u32::from_str_radix(text(&header[148..156]).trim(), 8).unwrap(), sum);
        let size = usize::from_str_radix(&text(&header[124..136]), 8).unwrap();
        let (prefix, name) = (text(&header[345..500]), text(&header[0..100]));
        entries.push(Raw {
            name: if prefix.is_empty() { name } else { format!("{prefix}/{name}") },
            mode: text(&header[100..108]),
            uid: text(&header[108..116]),
            gid: text(&header[116..124]),
            mtime: text(&header[136..148]),
            kind: char::from(header[156]),
            target: text(&header[157..257]),
            magic: header[257..265].to_vec(),
            names: header[265..329].to_vec(),
            content: bytes[at + 512..at + 512 + size].to_vec(),
        });
        let end = at + 512 + size;
        at = end.next_multiple_of(512);
        assert!(bytes[end..at].iter().all(|b| *b == 0));
    }
    (entries, bytes[at..].to_vec())
}

/// The files of an archive by name.
pub(crate) fn blobs(archive: &Archive) -> BTreeMap<String, Vec<u8>> {
    let (entries, _) = taken_apart(&fs::read(&archive.path).unwrap());
    entries.into_iter().filter(|entry| entry.kind == '0').map(|entry| (entry.name, entry.content)).collect()
}

/// A document of an archive.
pub(crate) fn document(archive: &Archive, name: &str) -> serde_json::Value {
    serde_json::from_slice(&blobs(archive)[name]).unwrap()
}

/// The blob that a digest names.
pub(crate) fn blob(archive: &Archive, digest: &str) -> Vec<u8> {
    blobs(archive)[&digest.replace("sha256:", "blobs/sha256/")].clone()
}

/// The layers of an archive, taken apart.
pub(crate) fn layers(archive: &Archive) -> Vec<Vec<Raw>> {
    let manifest: serde_json::Value = serde_json::from_slice(&blob(archive, &archive.digest)).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().map(|layer| taken_apart(&blob(archive, layer["digest"].as_str().unwrap())).0).collect()
}
