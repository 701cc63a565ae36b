//! `bottle images`: builds, lists and hands out the images of a bottle.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use bottle_contract::Untrusted;
use serde::Serialize;

use super::{Format, output};
use crate::backend::embedded::programs;
use crate::error::{Error, Result};
use crate::files::{Dir, PUBLIC};
use crate::image::{self, Archive, EPOCH_VARIABLE, Epoch, Recipe};
use crate::store::Layout;

/// Build, list, check and hand out images: of the sidecars, and of agents
///
/// An image is an OCI archive that depends on its recipe and on the files named there, and on nothing else: whoever builds it from the
/// same inputs gets the same digest. Recipes are built in, or lie in `images/NAME/image.yaml` of the configuration.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Build images, if they are not built yet
    Build {
        /// Which ones; all if none is named
        names: Vec<String>,
    },
    /// List the images, and the digest and size of those that are built
    List {
        /// How to write the list
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Write the archive of an image, which is built if need be
    Export {
        /// Which one
        name: String,
        /// Where to write it; the standard output if nothing is said
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
}

/// One image, as programs read it.
#[derive(Serialize)]
struct Row {
    name: String,
    #[serde(flatten)]
    archive: Option<Built>,
    /// Why it is not there, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct Built {
    digest: String,
    config_digest: String,
    reference: String,
    size: u64,
    path: PathBuf,
}

/// Does what was asked for.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let epoch = Epoch::parse(std::env::var_os(EPOCH_VARIABLE).as_deref())?;
    match &args.command {
        Command::Build { names } => build(names, epoch, layout, out),
        Command::List { format } => list(*format, epoch, layout, out),
        Command::Export { name, output } => export(name, output.as_deref(), epoch, layout, out),
    }
}

/// The program of a sidecar, as the embedded backend finds it.
fn program(piece: &str) -> Result<File> {
    programs::find(piece).map(File::from)
}

fn built(name: &str, epoch: Epoch, layout: &Layout) -> Result<Archive> {
    image::build(&image::find(name, &layout.config)?, &program, epoch, layout)
}

fn build(names: &[String], epoch: Epoch, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let names = if names.is_empty() { image::names(&layout.config)? } else { names.to_vec() };
    // All recipes are read before the first is built.
    let recipes: Vec<Recipe> = names.iter().map(|name| image::find(name, &layout.config)).collect::<Result<_>>()?;
    let width = names.iter().map(String::len).max().unwrap_or_default();
    for recipe in &recipes {
        let archive = image::build(recipe, &program, epoch, layout)?;
        output(writeln!(out, "{:width$}  {}  {}", archive.name, archive.digest, archive.size).map(|()| 0))?;
    }
    Ok(0)
}

fn list(format: Format, epoch: Epoch, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let rows: Vec<Row> = image::names(&layout.config)?.into_iter().map(|name| row(name, epoch, layout)).collect();
    output(match format {
        Format::Json => json(&rows, out),
        Format::Text => text(&rows, out),
    })
}

fn row(name: String, epoch: Epoch, layout: &Layout) -> Row {
    let found = image::find(&name, &layout.config).and_then(|recipe| image::existing(&recipe, &program, epoch, layout));
    match found {
        Err(error) => Row { name, archive: None, reason: Some(format!("{}: {}", error.what, error.cause)) },
        Ok(None) => Row { name, archive: None, reason: None },
        Ok(Some(Archive { digest, config_digest, reference, size, path, .. })) => {
            Row { name, archive: Some(Built { digest, config_digest, reference, size, path }), reason: None }
        }
    }
}

fn json(rows: &[Row], out: &mut dyn Write) -> io::Result<u8> {
    serde_json::to_writer_pretty(&mut *out, rows)?;
    writeln!(out)?;
    Ok(0)
}

fn text(rows: &[Row], out: &mut dyn Write) -> io::Result<u8> {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or_default().max("NAME".len());
    writeln!(out, "{:width$}  {:71}  {:>9}", "NAME", "DIGEST", "SIZE")?;
    for row in rows {
        match (&row.archive, &row.reason) {
            (Some(built), _) => writeln!(out, "{:width$}  {}  {:>9}", row.name, built.digest, built.size)?,
            (None, Some(reason)) => writeln!(out, "{:width$}  cannot be built: {}", row.name, Untrusted::new(reason))?,
            (None, None) => writeln!(out, "{:width$}  not built", row.name)?,
        }
    }
    Ok(0)
}

fn export(name: &str, to: Option<&Path>, epoch: Epoch, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let archive = built(name, epoch, layout)?;
    let mut from = File::open(&archive.path).map_err(|e| cannot_export(name, e))?;
    let Some(to) = to else {
        if io::stdout().is_terminal() {
            let hint = format!("`bottle images export {name} --output {name}.tar`, or `… | docker load`");
            return Err(Error::usage("an archive is nothing for a terminal", "the standard output is one", hint));
        }
        return output(io::copy(&mut from, out).map(|_| 0));
    };
    let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(file) = to.file_name().map(OsString::from) else {
        return Err(Error::usage(
            "cannot write the archive",
            format!("`{}` is no file", Untrusted::new(to.as_os_str().as_encoded_bytes())),
            "name one",
        ));
    };
    Dir::open(directory)?.copy_in(&file, &mut from, PUBLIC)?;
    Ok(0)
}

fn cannot_export(name: &str, cause: impl std::fmt::Display) -> Error {
    Error::failed(format!("cannot export the image `{name}`"), cause, "check the space and the permissions, then try again")
}
