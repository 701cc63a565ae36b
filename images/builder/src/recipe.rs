//! A recipe, `image.yaml`: everything that an image consists of, and nothing about the machine that builds it. Strict keys. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::path::{EntryPath, Names};
use crate::tree::{Content, Node, Tree};
use bottle_base::digest::sha256_hex;
use bottle_base::yaml::{self, At, Problem, written, written_list};

/// The keys as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: At<u32>,
    title: At<String>,
    architectures: Vec<Architecture>,
    user: At<u32>,
    #[serde(default, deserialize_with = "written")]
    workdir: Option<At<String>>,
    #[serde(default, deserialize_with = "written_list")]
    entrypoint: Option<Vec<String>>,
    #[serde(default, deserialize_with = "written_list")]
    env: Option<Vec<At<String>>>,
    #[serde(default, deserialize_with = "written_list")]
    labels: Option<BTreeMap<String, At<String>>>,
    layers: Vec<At<RawLayer>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawLayer {
    Made(Made),
    Directory(Directory),
    Archive(Archive),
}

/// A layer that the recipe itself spells out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    #[serde(default, deserialize_with = "written")]
    owner: Option<At<u32>>,
    #[serde(default, deserialize_with = "written_list")]
    directories: Option<Vec<At<String>>>,
    /// Where it goes: whose program it is.
    #[serde(default, deserialize_with = "written_list")]
    programs: Option<BTreeMap<String, At<String>>>,
    /// Where it goes: what it says.
    #[serde(default, deserialize_with = "written_list")]
    texts: Option<BTreeMap<String, At<String>>>,
    /// Where it goes: where it leads.
    #[serde(default, deserialize_with = "written_list")]
    links: Option<BTreeMap<String, At<String>>>,
}

/// A directory of the host, and the digest of the layer that it becomes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Directory {
    path: At<String>,
    sha256: At<String>,
    #[serde(default, deserialize_with = "written")]
    owner: Option<At<u32>>,
    #[serde(default, deserialize_with = "written_list")]
    setuid: Option<Vec<At<String>>>,
}

/// A tar archive, plain or gzip, and the digest of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Archive {
    path: At<String>,
    sha256: At<String>,
}

/// A processor, by the name that images give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
}

impl Architecture {
    /// What this program was compiled for.
    #[cfg(target_arch = "x86_64")]
    pub const OWN: Self = Self::Amd64;
    /// What this program was compiled for.
    #[cfg(target_arch = "aarch64")]
    pub const OWN: Self = Self::Arm64;

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// What an ELF program is compiled for (ELF-64 object file format: `EI_CLASS`, `EI_DATA`, `e_machine`).
    pub fn of_program(bytes: &[u8]) -> Option<Self> {
        match (bytes.get(..6)?, bytes.get(18..20)?) {
            (b"\x7fELF\x02\x01", [62, 0]) => Some(Self::Amd64),
            (b"\x7fELF\x02\x01", [183, 0]) => Some(Self::Arm64),
            _ => None,
        }
    }
}

/// An image that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// SHA-256 of the recipe's text, hexadecimal.
    pub sha256: String,
    /// One line for people.
    pub title: String,
    /// What it may be built for.
    pub architectures: BTreeSet<Architecture>,
    /// The user and group that its program runs as.
    pub user: u32,
    /// Where its program starts.
    pub workdir: String,
    /// Its program and first arguments.
    pub entrypoint: Vec<String>,
    /// `NAME=value`, in the recipe's order.
    pub env: Vec<String>,
    /// Labels beside our own.
    pub labels: BTreeMap<String, String>,
    /// Lowest first.
    pub layers: Vec<LayerRecipe>,
}

/// What a layer is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerRecipe {
    /// What the recipe spells out, and programs that are still to be found.
    Made {
        /// User and group of all entries.
        owner: u32,
        /// Directories, texts and links.
        tree: Tree,
        /// Where a program goes, and whose it is.
        programs: BTreeMap<EntryPath, String>,
    },
    /// A directory of the host.
    Directory {
        /// Where.
        path: PathBuf,
        /// Of the layer that it becomes.
        sha256: String,
        /// User and group of all entries.
        owner: u32,
        /// Files that run as their owner.
        setuid: Vec<EntryPath>,
    },
    /// An archive of somebody else's. Its digest is the promise, so it is taken as it is.
    Archive {
        /// Where.
        path: PathBuf,
        /// Of the file.
        sha256: String,
    },
}

impl Recipe {
    /// Reads a recipe; `directory` is what its paths start from, none for a built-in one.
    pub fn read(name: &str, text: &str, directory: Option<&Path>) -> Result<Self, Problem> {
        let raw: Raw = yaml::parse(text)?;
        if raw.version.value != 1 {
            return Err(raw
                .version
                .problem("a version of recipes that this program does not know", "write `version: 1`, or update bottle"));
        }
        if raw.title.value.is_empty() || raw.title.value.chars().any(char::is_control) {
            return Err(raw.title.problem("a title is one line of text", "say in a few words what the image is"));
        }
        if raw.architectures.is_empty() {
            return Err(Problem::at(1, 1, "`architectures` is empty", "write `architectures: [amd64, arm64]`, or one of them"));
        }
        if raw.user.value == 0 || raw.user.value > MAX_USER_ID {
            return Err(raw.user.problem(format!("a user from 1 to {MAX_USER_ID} is meant, never root"), "write `user: 65532`"));
        }
        if raw.layers.is_empty() {
            return Err(Problem::at(1, 1, "`layers` is empty", "an image has at least one layer"));
        }
        let env = environment(raw.env.unwrap_or_default())?;
        let workdir = match raw.workdir {
            None => "/".to_owned(),
            Some(workdir) => absolute(&workdir)?,
        };
        Ok(Self {
            name: name.to_owned(),
            sha256: sha256_hex(text.as_bytes()),
            title: raw.title.value,
            architectures: raw.architectures.into_iter().collect(),
            user: raw.user.value,
            workdir,
            entrypoint: raw.entrypoint.unwrap_or_default(),
            env,
            labels: labels(raw.labels.unwrap_or_default())?,
            layers: raw.layers.into_iter().map(|layer| layer_recipe(layer, directory)).collect::<Result<_, _>>()?,
        })
    }

    /// The files that it names, by the layer that they become, and their SHA-256.
    pub fn digests(&self) -> impl Iterator<Item = (String, &str)> {
        self.layers.iter().enumerate().filter_map(|(number, layer)| match layer {
            LayerRecipe::Made { .. } => None,
            LayerRecipe::Directory { sha256, .. } | LayerRecipe::Archive { sha256, .. } => {
                Some((format!("layer {}", number + 1), sha256.as_str()))
            }
        })
    }

    /// Whose programs it needs.
    pub fn programs(&self) -> BTreeSet<&str> {
        let made = self.layers.iter().filter_map(|layer| match layer {
            LayerRecipe::Made { programs, .. } => Some(programs),
            _ => None,
        });
        made.flat_map(|programs| programs.values().map(String::as_str)).collect()
    }
}

/// The greatest number that is neither the overflow user of most systems nor special to any.
const MAX_USER_ID: u32 = 65_533;

fn layer_recipe(raw: At<RawLayer>, directory: Option<&Path>) -> Result<LayerRecipe, Problem> {
    match raw.value {
        RawLayer::Made(made) => self::made(made),
        RawLayer::Directory(it) => Ok(LayerRecipe::Directory {
            path: from(&it.path, directory)?,
            sha256: digest(&it.sha256)?,
            owner: owner(it.owner.as_ref())?,
            setuid: it.setuid.unwrap_or_default().iter().map(entry_path).collect::<Result<_, _>>()?,
        }),
        RawLayer::Archive(it) => Ok(LayerRecipe::Archive { path: from(&it.path, directory)?, sha256: digest(&it.sha256)? }),
    }
}

fn made(made: Made) -> Result<LayerRecipe, Problem> {
    const HINT: &str = "a path of an image is relative to its root, plain, and there once: `run/bottle/config`";
    let (mut tree, mut names) = (Tree::default(), Names::default());
    let mut add = |text: &At<String>, path: EntryPath, node: Option<Node>| {
        names.add(&path).map_err(|why| text.problem(why, HINT))?;
        node.map_or(Ok(()), |node| tree.add(path, node)).map_err(|why| text.problem(why, HINT))
    };
    let mut seen = BTreeSet::new();
    for text in made.directories.iter().flatten() {
        let path = entry_path(text)?;
        if !seen.insert(path.clone()) {
            return Err(text.problem(format!("`{path}` is there twice"), HINT));
        }
        add(text, path, Some(Node::Directory))?;
    }
    for (path, text) in made.texts.iter().flatten() {
        let node = Node::File { content: Content::Bytes(text.value.clone().into_bytes()), executable: false, setuid: false };
        add(text, keyed(path, text)?, Some(node))?;
    }
    for (path, target) in made.links.iter().flatten() {
        if target.value.is_empty() || target.value.contains('\0') {
            return Err(target.problem("a link must lead somewhere", "write its target, or remove it"));
        }
        add(target, keyed(path, target)?, Some(Node::Link(target.value.clone().into_bytes())))?;
    }
    let mut programs = BTreeMap::new();
    for (path, program) in made.programs.iter().flatten() {
        if !bottle_base::key::is_valid(&program.value) {
            return Err(program.problem("the name of a program is that of its sidecar", "write `bottle-egress: egress`, say"));
        }
        let path = keyed(path, program)?;
        add(program, path.clone(), None)?;
        programs.insert(path, program.value.clone());
    }
    Ok(LayerRecipe::Made { owner: owner(made.owner.as_ref())?, tree, programs })
}

fn entry_path(text: &At<String>) -> Result<EntryPath, Problem> {
    keyed(&text.value, text)
}

fn keyed(path: &str, at: &At<String>) -> Result<EntryPath, Problem> {
    EntryPath::new(path).map_err(|why| at.problem(why, "a path of an image is relative to its root and plain: `run/bottle/config`"))
}

fn owner(owner: Option<&At<u32>>) -> Result<u32, Problem> {
    match owner {
        None => Ok(0),
        Some(owner) if owner.value <= MAX_USER_ID => Ok(owner.value),
        Some(owner) => Err(owner.problem(format!("an owner is a number from 0 to {MAX_USER_ID}"), "write a smaller one")),
    }
}

/// A file of the host that the recipe names. It stays below the recipe's own directory: a recipe that is copied takes its files along.
fn from(text: &At<String>, directory: Option<&Path>) -> Result<PathBuf, Problem> {
    let Some(directory) = directory else {
        return Err(text.problem("a built-in recipe has no files beside it", "put the recipe into your configuration"));
    };
    let path = Path::new(&text.value);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_))) && !text.value.is_empty();
    match plain && !text.value.contains('\0') {
        true => Ok(directory.join(path)),
        false => {
            Err(text.problem("a path that leaves the recipe's directory", "put the files beside the recipe, and write their relative path"))
        }
    }
}

fn digest(text: &At<String>) -> Result<String, Problem> {
    let hex = text.value.strip_prefix("sha256:").unwrap_or(&text.value);
    match hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        true => Ok(hex.to_owned()),
        false => Err(text.problem("not a SHA-256", "64 lower-case hexadecimal digits; `bottle images build` says which ones it found")),
    }
}

fn environment(env: Vec<At<String>>) -> Result<Vec<String>, Problem> {
    let mut seen = BTreeSet::new();
    for text in &env {
        let name = text.value.split_once('=').map(|(name, _)| name).filter(|name| !name.is_empty());
        match name {
            None => return Err(text.problem("a variable is written `NAME=value`", "write the name, an equals sign, and the value")),
            Some(_) if text.value.contains('\0') => return Err(text.problem("a variable with a NUL", "remove it")),
            Some(name) if !seen.insert(name.to_owned()) => return Err(text.problem("a variable that is there twice", "keep one of them")),
            Some(_) => {}
        }
    }
    Ok(env.into_iter().map(|text| text.value).collect())
}

fn absolute(workdir: &At<String>) -> Result<String, Problem> {
    let path = workdir.value.strip_prefix('/').map(EntryPath::new);
    match path {
        Some(Ok(path)) if !path.as_bytes().starts_with(b"proc/") => Ok(workdir.value.clone()),
        _ if workdir.value == "/" => Ok(workdir.value.clone()),
        _ => Err(workdir
            .problem("the working directory must be a plain absolute path, and not one of /proc", "write `workdir: /workspace`, say")),
    }
}

fn labels(labels: BTreeMap<String, At<String>>) -> Result<BTreeMap<String, String>, Problem> {
    const OURS: [&str; 2] = ["bottle.", "org.opencontainers.image.title"];
    for (name, value) in &labels {
        if OURS.iter().any(|ours| name.starts_with(ours)) {
            return Err(value.problem("a label that the image writer itself sets", "choose another name"));
        }
    }
    Ok(labels.into_iter().map(|(name, value)| (name, value.value)).collect())
}
