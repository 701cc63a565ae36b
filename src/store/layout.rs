//! The directories of an operator, computed from the environment alone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bottle_contract::Untrusted;

use crate::digest::sha256_hex;
use crate::error::{Error, Result};
use crate::files::Dir;

/// TMPFS_MAGIC and RAMFS_MAGIC of linux/magic.h: file systems that never reach a disk (tmpfs may swap).
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];
/// The longest path of a unix socket: `sun_path` of 108 bytes, minus the NUL (unix(7)).
const MAX_SOCKET_PATH: usize = 107;
/// The longest suffix of a bottle's socket below the runtime directory: slash, id, path.
const SOCKET_ROOM: usize = 1 + 41 + "/link/pipelock.sock".len();

/// The environment.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// `BOTTLE_HOME`.
    pub bottle_home: Option<OsString>,
    /// `HOME`.
    pub home: Option<OsString>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<OsString>,
    /// `XDG_STATE_HOME`.
    pub state_home: Option<OsString>,
    /// `XDG_DATA_HOME`.
    pub data_home: Option<OsString>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<OsString>,
    /// The effective user id.
    pub uid: u32,
}

impl Facts {
    /// The facts of this process.
    pub fn here() -> Self {
        // An empty variable counts as unset (XDG Base Directory Specification).
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            bottle_home: var("BOTTLE_HOME"),
            home: var("HOME"),
            config_home: var("XDG_CONFIG_HOME"),
            state_home: var("XDG_STATE_HOME"),
            data_home: var("XDG_DATA_HOME"),
            runtime_dir: var("XDG_RUNTIME_DIR"),
            uid: rustix::process::geteuid().as_raw(),
        }
    }
}

/// The directories of one operator: absolute, UTF-8, and possibly missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Manifests.
    pub config: PathBuf,
    /// One directory per bottle.
    pub state: PathBuf,
    /// Images.
    pub images: PathBuf,
    /// Candidates for secrets and keys, best first. The first one that is on tmpfs and safe is used.
    pub runtime: Vec<PathBuf>,
    /// The last candidate is in this directory, where anybody may take a name. Then a name with random digits serves as well.
    pub shared: Option<PathBuf>,
}

/// The random digits after a name that is taken. The socket's path leaves no room for more, and creating a directory is exclusive.
const DIGITS: usize = 6;

impl Layout {
    /// The layout for these facts.
    pub fn compute(facts: &Facts) -> Result<Self> {
        let (config, state, images) = match &facts.bottle_home {
            Some(home) => {
                let home = absolute("BOTTLE_HOME", home)?;
                (home.join("config"), home.join("state"), home.join("images"))
            }
            None => {
                let at = |name: &str, value: &Option<OsString>, default: &str| match value {
                    Some(value) => absolute(name, value).map(|path| path.join("bottle")),
                    None => home(facts).map(|home| home.join(default).join("bottle")),
                };
                (
                    at("XDG_CONFIG_HOME", &facts.config_home, ".config")?,
                    at("XDG_STATE_HOME", &facts.state_home, ".local/state")?,
                    at("XDG_DATA_HOME", &facts.data_home, ".local/share")?.join("images"),
                )
            }
        };
        let mut bases = Vec::new();
        if let Some(dir) = &facts.runtime_dir {
            bases.push(absolute("XDG_RUNTIME_DIR", dir)?.join("bottle"));
        }
        bases.push(PathBuf::from(format!("/run/user/{}/bottle", facts.uid)));
        if facts.uid == 0 {
            bases.push(PathBuf::from("/run/bottle"));
        }
        let shared = PathBuf::from(format!("/dev/shm/bottle-{}", facts.uid));
        bases.push(shared.clone());
        bases.dedup();
        // Two state directories never share a runtime directory: the same id in both means two bottles.
        // Short, for the paths of sockets; with a dot, so that it is not an id.
        let own = format!("s.{}", &sha256_hex(state.as_os_str().as_encoded_bytes())[..8]);
        let runtime = bases.into_iter().map(|base| base.join(&own)).collect();
        Ok(Self { config, state, images, runtime, shared: Some(shared) })
    }

    /// The layout of this process' environment.
    pub fn here() -> Result<Self> {
        Self::compute(&Facts::here())
    }

    /// The state directory, created if missing.
    pub fn open_state(&self) -> Result<Dir> {
        Dir::create_private(&self.state)
    }

    /// The runtime directory, created if missing: the first candidate that is on tmpfs, private, and short enough for socket paths. Never
    /// a directory on a disk.
    pub fn open_runtime(&self) -> Result<Dir> {
        let mut refused = Vec::new();
        for path in self.runtime.iter().cloned().chain(self.places_of_ours()).chain(self.new_place()) {
            match usable(&path) {
                Ok(dir) => return Ok(dir),
                Err(why) => refused.push(format!("{}: {why}", Untrusted::new(path.as_os_str().as_encoded_bytes()))),
            }
        }
        Err(Error::failed(
            "there is no usable tmpfs for keys and secrets",
            refused.join("; "),
            "set XDG_RUNTIME_DIR to a directory of yours on tmpfs, with mode 0700",
        ))
    }

    /// Possible runtime directories of `id`, to find leftovers of a crash.
    pub(super) fn existing_runtimes(&self) -> Vec<Dir> {
        self.runtime.iter().cloned().chain(self.places_of_ours()).filter_map(|path| Dir::open_private(&path).ok().flatten()).collect()
    }

    /// Directories that an earlier start created because the shared name was taken.
    fn places_of_ours(&self) -> Vec<PathBuf> {
        let (Some(shared), Some(own)) = (&self.shared, self.runtime.last().and_then(|path| path.file_name())) else { return Vec::new() };
        let (Some(parent), Some(name)) = (shared.parent(), shared.file_name()) else { return Vec::new() };
        let begins = format!("{}.", name.to_string_lossy());
        let is_ours = |path: &PathBuf| {
            let uid = rustix::process::geteuid().as_raw();
            std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && std::os::unix::fs::MetadataExt::uid(&meta) == uid)
        };
        let entries = std::fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok);
        let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&begins)).map(|entry| entry.path());
        let mut places: Vec<PathBuf> = named.filter(is_ours).map(|path| path.join(own)).collect();
        places.sort();
        places
    }

    /// A free name next to the shared one.
    fn new_place(&self) -> Option<PathBuf> {
        let own = self.runtime.last()?.file_name()?;
        let digits = crate::files::random_hex().ok()?;
        Some(PathBuf::from(format!("{}.{}", self.shared.as_ref()?.to_str()?, &digits[..DIGITS])).join(own))
    }
}

/// Opens a candidate, or returns why it is unusable.
fn usable(path: &Path) -> Result<Dir, String> {
    let length = path.as_os_str().len() + SOCKET_ROOM;
    if length > MAX_SOCKET_PATH {
        return Err(format!("too long, its sockets would have {length} bytes of at most {MAX_SOCKET_PATH}"));
    }
    // Checks the parent directory first, so that nothing is created on a disk.
    let base = path.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let kind = rustix::fs::open(base, rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .and_then(rustix::fs::fstatfs)
        .map_err(|e| e.to_string())?;
    if !in_memory(kind.f_type) {
        return Err("not on tmpfs".to_owned());
    }
    let dir = Dir::create_private(path).map_err(|e| format!("{}, {}", e.what, e.cause))?;
    match rustix::fs::fstatfs(&dir) {
        Ok(kind) if in_memory(kind.f_type) => Ok(dir),
        Ok(_) => Err("not on tmpfs".to_owned()),
        Err(e) => Err(e.to_string()),
    }
}

fn in_memory(kind: rustix::fs::FsWord) -> bool {
    // The field is signed on some architectures; the magic numbers have 32 bits.
    MEMORY_FILE_SYSTEMS.contains(&(kind as u64 & 0xffff_ffff))
}

fn home(facts: &Facts) -> Result<PathBuf> {
    let hint = "set HOME, or BOTTLE_HOME to a directory of your own";
    let Some(home) = &facts.home else {
        return Err(Error::failed("there is no home directory", "HOME is not set", hint));
    };
    let home = absolute("HOME", home)?;
    if home.parent().is_none() {
        return Err(Error::failed("the home directory is `/`", "files of bottle would lie in the root directory", hint));
    }
    Ok(home)
}

fn absolute(name: &str, value: &OsString) -> Result<PathBuf> {
    let path = PathBuf::from(value);
    let why = if !path.is_absolute() {
        "it is a relative path"
    } else if path.components().any(|part| part == std::path::Component::ParentDir) {
        "it has `..` in it"
    } else if path.to_str().is_none_or(|text| text.chars().any(char::is_control)) {
        "it is not plain UTF-8 text"
    } else {
        return Ok(path.components().collect());
    };
    let what = format!("{name} is `{}`", Untrusted::new(value.as_encoded_bytes()));
    Err(Error::failed(what, why, format!("set {name} to an absolute path")))
}
