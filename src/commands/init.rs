//! `bottle init`: writes the built-in manifests to the configuration, for editing.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use bottle_contract::Untrusted;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::cannot_write;
use crate::error::{Error, Result};
use crate::manifest::Kind;
use crate::manifest::built_in::{LIBRARY, Starter};

/// Write the built-in agents and bottles to your configuration, to be edited
///
/// A file that is already there is never changed. To get a built-in one back, remove yours and run this again.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}

/// The result for one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Written,
    Unchanged,
    Kept,
}

/// Writes the missing files below `config`, and reports the result for each.
pub fn run(_args: &Args, out: &mut dyn Write, config: &Path) -> Result<()> {
    // A provider that was written out would stay as it is when the program that it describes changes.
    for starter in LIBRARY.iter().filter(|starter| starter.kind != Kind::Provider) {
        let directory = config.join(starter.kind.directory());
        let file = directory.join(format!("{}.md", starter.name));
        let escaped = Untrusted::new(file.as_os_str().as_encoded_bytes()).to_string();
        let outcome = place(starter, &directory, &file).map_err(|error| {
            Error::failed(
                format!("cannot write {escaped}"),
                error,
                "check the directory's permissions and free space, then run `bottle init` again",
            )
        })?;
        let word = match outcome {
            Outcome::Written => "written  ",
            Outcome::Unchanged => "unchanged",
            Outcome::Kept => "kept     ",
        };
        let why = if outcome == Outcome::Kept { " (yours differs from the built-in one)" } else { "" };
        writeln!(out, "{word} {escaped}{why}").map_err(cannot_write)?;
    }
    Ok(())
}

/// The modes are set under any umask: a writer here could give an agent any credential.
fn place(starter: &Starter, directory: &Path, file: &Path) -> io::Result<Outcome> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let temporary = directory.join(format!(".{}.md.{}", starter.name, std::process::id()));
    let outcome = write(starter, &temporary, file);
    if !matches!(outcome, Ok(Outcome::Written)) {
        // Reports the first error.
        let _ = fs::remove_file(&temporary);
    }
    outcome
}

/// Order matters: the content is on disk before the name appears, and the name never replaces another file.
fn write(starter: &Starter, temporary: &Path, file: &Path) -> io::Result<Outcome> {
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o644).open(temporary)?;
    target.write_all(starter.text.as_bytes())?;
    target.sync_all()?;
    match renameat_with(CWD, temporary, CWD, file, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => return compare(starter, file),
        renamed => renamed?,
    }
    file.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())?;
    Ok(Outcome::Written)
}

/// An existing file stays. It is only compared if it is a regular file of the same length.
fn compare(starter: &Starter, file: &Path) -> io::Result<Outcome> {
    let same_length = fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.len() == starter.text.len() as u64);
    Ok(if same_length && fs::read(file)? == starter.text.as_bytes() { Outcome::Unchanged } else { Outcome::Kept })
}
