//! Reads the manifest files. Each is read once and before anything starts, so the agent cannot change a decision later.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bottle_contract::Untrusted;
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

use super::key;
use super::library::Library;
use super::model::Origin;
use super::source::{Kind, Source};
use crate::error::{Error, Result};

/// The size limit of a manifest. The largest prompts are a tenth of it.
pub const MAX_MANIFEST_BYTES: u64 = 256 * 1024;
/// The limit of files in a directory: it bounds memory and time for hostile repositories.
pub const MAX_MANIFESTS: usize = 512;

/// Reads `<config>/bottles`, `<config>/agents`, `<config>/providers` and, of a repository, `.bottle/agents`; `home` is what `~` stands for.
///
/// An error means that the definitions are unknown. A single broken file is not an error: it becomes a source that fails when
/// it is used.
pub fn load(config: &Path, home: Option<&Path>, repo: Option<&Path>) -> Result<Library> {
    let mut found = Found::default();
    for kind in [Kind::Bottle, Kind::Agent, Kind::Provider] {
        let path = config.join(kind.directory());
        if let Some(directory) = open_directory(CWD, &path, Links::Followed).map_err(|e| cannot_read(&path, e))? {
            found.read(kind, &directory, &path, Links::Followed)?;
        }
    }
    if let Some(repo) = repo {
        found.read_repo(repo)?;
    }
    Ok(Library::new(home, found.sources, found.strays))
}

/// Whether symlinks are followed: in the operator's configuration, because dotfile tools use them, but not in a repository, where
/// a link could name any file of the operator.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    Followed,
    Refused,
}

impl Links {
    fn flags(self) -> OFlags {
        match self {
            Self::Followed => OFlags::empty(),
            Self::Refused => OFlags::NOFOLLOW,
        }
    }
}

#[derive(Default)]
struct Found {
    sources: Vec<Source>,
    strays: Vec<Error>,
}

impl Found {
    fn read_repo(&mut self, repo: &Path) -> Result<()> {
        let path = repo.join(".bottle");
        let Some(dot) = open_directory(CWD, &path, Links::Refused).map_err(|e| cannot_read(&path, e))? else { return Ok(()) };
        for kind in ["bottles", "providers"] {
            match statat(&dot, kind, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {}
                Err(error) => return Err(cannot_read(&path.join(kind), error)),
                Ok(_) => {
                    return Err(Error::usage(
                        format!("this repository tries to define {kind}"),
                        format!("{} exists; {kind} are only read from the home configuration", escaped(&path.join(kind))),
                        "remove it, or move what you want of it to your own configuration",
                    ));
                }
            }
        }
        let path = path.join("agents");
        match open_directory(&dot, "agents", Links::Refused).map_err(|e| cannot_read(&path, e))? {
            Some(agents) => self.read(Kind::Agent, &agents, &path, Links::Refused),
            None => Ok(()),
        }
    }

    /// Reads the `.md` files of a directory; other files and hidden ones are ignored.
    fn read(&mut self, kind: Kind, directory: &OwnedFd, path: &Path, links: Links) -> Result<()> {
        let mut names = Vec::new();
        for entry in Dir::read_from(directory).map_err(|e| cannot_read(path, e))? {
            let name = entry.map_err(|e| cannot_read(path, e))?.file_name().to_bytes().to_vec();
            if names.len() >= MAX_MANIFESTS {
                return Err(Error::usage(
                    format!("cannot read {}", escaped(path)),
                    format!("more than {MAX_MANIFESTS} files in it"),
                    "remove files that are not manifests",
                ));
            }
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            let Some(stem) = name.strip_suffix(b".md").filter(|_| !name.starts_with(b".")) else { continue };
            let file = path.join(std::ffi::OsStr::from_bytes(&name));
            match std::str::from_utf8(stem).ok().filter(|stem| key::is_valid(stem)) {
                None => self.strays.push(Error::usage(
                    format!("{kind} `{}` cannot be used", Untrusted::new(stem)),
                    format!("{}: {}", escaped(&file), key::GRAMMAR),
                    "rename the file",
                )),
                Some(stem) => self.sources.push(Source {
                    kind,
                    name: stem.to_owned(),
                    content: read_file(directory, &name, links).map_err(|error| {
                        Error::usage(
                            format!("{kind} `{stem}` cannot be used"),
                            format!("{}: {error}", escaped(&file)),
                            "a manifest is a regular file that you can read, of at most 256 KiB",
                        )
                    }),
                    origin: match links {
                        Links::Followed => Origin::Home(file),
                        Links::Refused => Origin::Repo(file),
                    },
                }),
            }
        }
        Ok(())
    }
}

/// `None` when there is no such directory.
fn open_directory<Fd: std::os::fd::AsFd>(at: Fd, path: impl rustix::path::Arg, links: Links) -> rustix::io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | links.flags();
    match openat(at, path, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens without blocking (a FIFO would hang), checks the file type, and reads at most [`MAX_MANIFEST_BYTES`] bytes.
fn read_file(directory: &OwnedFd, name: &[u8], links: Links) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | links.flags();
    let file = openat(directory, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP if links == Links::Refused => io::Error::other("a symbolic link, which a repository may not use here"),
        error => error.into(),
    })?;
    let stat = fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    let mut content = Vec::new();
    File::from(file).take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(io::Error::other("larger than 256 KiB"));
    }
    Ok(content)
}

fn escaped(path: &Path) -> String {
    Untrusted::new(path.as_os_str().as_bytes()).to_string()
}

fn cannot_read(path: &Path, error: Errno) -> Error {
    let cause = match error {
        Errno::LOOP => "a symbolic link, which a repository may not use here".to_owned(),
        Errno::NOTDIR => "not a directory (a symbolic link is not followed in a repository)".to_owned(),
        error => io::Error::from(error).to_string(),
    };
    Error::usage(format!("cannot read {}", escaped(path)), cause, "make it a directory that you can read, or remove it")
}
