//! The archives that have been built: each under its digest, complete from the instant it has that name. One build at a time; a build that
//! is interrupted leaves a file that the next one removes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use bottle_base::error::Result;
use bottle_base::files::{Dir, PRIVATE, failed};

/// Below the directory of images.
const ARCHIVES: &str = "archives";
/// Held by whoever builds.
const LOCK: &str = ".lock";
/// Bytes of a record at most.
const MAX_RECORD_BYTES: u64 = 64 * 1024;

/// What is known of an archive, by what it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) digest: String,
    pub(crate) config_digest: String,
    pub(crate) reference: String,
    pub(crate) size: u64,
}

/// The directory of archives.
pub(crate) struct Store {
    directory: Dir,
}

/// The store while nobody else builds.
pub(crate) struct Locked<'s> {
    pub(crate) store: &'s Store,
    _lock: File,
}

impl Store {
    pub(crate) fn open(images: &Path) -> Result<Self> {
        Ok(Self { directory: Dir::create_private(&images.join(ARCHIVES))? })
    }

    /// The store if there is one.
    pub(crate) fn existing(images: &Path) -> Result<Option<Self>> {
        Ok(Dir::open_private(&images.join(ARCHIVES))?.map(|directory| Self { directory }))
    }

    /// Images that came with the programs, and are as trustworthy as these; not written to.
    pub(crate) fn shipped(images: &Path) -> Option<Self> {
        Dir::open(&images.join(ARCHIVES)).ok().map(|directory| Self { directory })
    }

    /// Waits until nobody else builds, and removes what an interrupted build left.
    pub(crate) fn lock(&self) -> Result<Locked<'_>> {
        let explain = |call, errno| failed("lock", &self.directory.path().join(LOCK), call, errno);
        let flags = OFlags::CREATE | OFlags::RDWR;
        let fd = self.directory.beneath(LOCK.as_ref(), flags, Mode::from_raw_mode(PRIVATE)).map_err(|e| explain("openat2", e))?;
        let lock = File::from(fd);
        loop {
            match rustix::fs::flock(&lock, FlockOperation::LockExclusive) {
                Ok(()) => break,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(explain("flock", e)),
            }
        }
        self.directory.sweep_unfinished()?;
        Ok(Locked { store: self, _lock: lock })
    }

    /// What was built from these inputs, if its archive is still there and whole.
    pub(crate) fn built(&self, name: &str, inputs: &str) -> Result<Option<Record>> {
        let file = record_name(name, inputs);
        if self.directory.stat(&file)?.is_none() {
            return Ok(None);
        }
        let text = self.directory.read_bounded(&file, MAX_RECORD_BYTES)?;
        // A record that cannot be read is as good as none: the image is built again.
        let Ok(record) = serde_json::from_slice::<Record>(&text) else { return Ok(None) };
        let size = self.directory.stat(archive_name(&record.digest))?.map(|stat| stat.st_size as u64);
        Ok((size == Some(record.size)).then_some(record))
    }

    /// Where everything lies.
    pub(crate) fn directory(&self) -> &Dir {
        &self.directory
    }

    /// Where the archive of a record is.
    pub(crate) fn path(&self, record: &Record) -> PathBuf {
        self.directory.path().join(archive_name(&record.digest))
    }

    /// Opens a file that [`Locked::file`] has made.
    pub(crate) fn open_file(&self, name: &str) -> Result<File> {
        self.directory.open_file(name)
    }
}

impl Locked<'_> {
    /// A new file without a name of its own.
    pub(crate) fn file(&self) -> Result<Unfinished<'_>> {
        let directory = &self.store.directory;
        let (name, fd) = directory.unfinished().map_err(|(call, errno)| failed("write", directory.path(), call, errno))?;
        let name = name.into_string().unwrap_or_default();
        Ok(Unfinished { directory, name: Some(name), out: BufWriter::with_capacity(256 * 1024, File::from(fd)) })
    }

    /// Remembers what was built.
    pub(crate) fn remember(&self, name: &str, inputs: &str, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record).expect("texts and numbers are JSON");
        self.store.directory.replace(record_name(name, inputs), &text, PRIVATE)
    }
}

/// A file that is being written. Dropped before it is kept, it is removed.
pub(crate) struct Unfinished<'s> {
    directory: &'s Dir,
    name: Option<String>,
    out: BufWriter<File>,
}

impl Unfinished<'_> {
    /// Its name for now.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Everything that was written is in the file, which is still removed when this is dropped; where it is.
    pub(crate) fn complete(&mut self) -> Result<PathBuf> {
        let path = self.directory.path().join(self.name());
        let io = |e: io::Error| failed("write", &path, "write", Errno::from_io_error(&e).unwrap_or(Errno::IO));
        self.out.flush().map_err(io).map(|()| path.clone())
    }

    /// Gives the complete file its name. Order matters: content, disk, name.
    pub(crate) fn keep(mut self, name: &str) -> Result<()> {
        let explain = |call, errno| failed("write", &self.directory.path().join(name), call, errno);
        let io = |e: io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
        self.out.flush().map_err(|e| explain("write", io(e)))?;
        self.out.get_ref().sync_all().map_err(|e| explain("fsync", io(e)))?;
        if let Some(temporary) = &self.name {
            rustix::fs::renameat(self.directory, temporary, self.directory, name).map_err(|e| explain("renameat", e))?;
        }
        self.name = None;
        self.directory.sync()
    }
}

impl Write for Unfinished<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // What cannot be removed is swept by the next build.
            let _ = rustix::fs::unlinkat(self.directory, name, AtFlags::empty());
        }
    }
}

/// The file of an archive, from its digest.
pub(crate) fn archive_name(digest: &str) -> String {
    format!("{}.tar", digest.replace(':', "-"))
}

fn record_name(name: &str, inputs: &str) -> String {
    format!("{name}-{}.json", &inputs[..32])
}
