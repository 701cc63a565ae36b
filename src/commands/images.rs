//! `bottle images`: builds, lists and hands out the images of a bottle.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use bottle_builder::{Archive, EPOCH_VARIABLE, Epoch, Recipe, Verdict};
use bottle_contract::Untrusted;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use super::{Format, NO, completions, output};
use crate::backend::sidecar_programs::Installed;
use crate::error::{Error, Result, Source};
use crate::files::{Dir, PUBLIC};
use crate::store::Layout;

/// Build, list, verify and export images: of the sidecars, and of agents
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
        /// Images to build; all if none is named
        #[arg(add = ArgValueCandidates::new(completions::images))]
        names: Vec<String>,
    },
    /// List the images, and the digest and size of those that are built
    List {
        /// How to write the list
        #[command(flatten)]
        format: Format,
    },
    /// Build images again and compare, to the last byte
    ///
    /// Without names, all images are compared. It prints which entry and which field differs; then the exit code is 1.
    Verify {
        /// Images to verify; all if none is named
        #[arg(add = ArgValueCandidates::new(completions::images))]
        names: Vec<String>,
        /// Compare with this archive instead of the one in the store
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
        /// Let the digest that was published with this version count too
        #[arg(long)]
        published: bool,
    },
    /// Export the archive of an image, which is built if need be
    Export {
        /// Image to export
        #[arg(add = ArgValueCandidates::new(completions::images))]
        name: String,
        /// Write it to this file, not to standard output
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
        Command::Verify { names, against, published } => {
            if against.is_some() && names.len() != 1 {
                let hint = "`bottle images verify egress --against egress.tar`";
                return Err(Error::usage("one archive is compared with one image", format!("{} are named", names.len()), hint));
            }
            verify(names, against.as_deref(), *published, epoch, layout, out)
        }
        Command::Export { name, output } => export(name, output.as_deref(), epoch, layout, out),
    }
}

fn built(name: &str, epoch: Epoch, layout: &Layout) -> Result<Archive> {
    bottle_builder::build(&bottle_builder::find(name, &layout.config)?, &Installed, epoch, &layout.images)
}

fn build(names: &[String], epoch: Epoch, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let names = if names.is_empty() { bottle_builder::names(&layout.config)? } else { names.to_vec() };
    // All recipes are read before the first is built.
    let recipes: Vec<Recipe> = names.iter().map(|name| bottle_builder::find(name, &layout.config)).collect::<Result<_>>()?;
    let width = names.iter().map(String::len).max().unwrap_or_default();
    for recipe in &recipes {
        let archive = bottle_builder::build(recipe, &Installed, epoch, &layout.images)?;
        output(writeln!(out, "{:width$}  {}  {}", archive.name, archive.digest, archive.size).map(|()| 0))?;
    }
    Ok(0)
}

fn verify(names: &[String], against: Option<&Path>, strict: bool, epoch: Epoch, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let names = if names.is_empty() { bottle_builder::names(&layout.config)? } else { names.to_vec() };
    let mut code = 0;
    for name in &names {
        let verdict = bottle_builder::verify(&bottle_builder::find(name, &layout.config)?, &Installed, epoch, &layout.images, against)?;
        let same_as_published = verdict.published.as_ref().map(|digest| *digest == verdict.digest);
        if !verdict.differences.is_empty() || (strict && same_as_published != Some(true)) {
            code = NO;
        }
        output(write_verdict(name, &verdict, same_as_published, out).map(|()| 0))?;
    }
    Ok(code)
}

fn write_verdict(name: &str, verdict: &Verdict, same_as_published: Option<bool>, out: &mut dyn Write) -> io::Result<()> {
    let same = if verdict.differences.is_empty() { "the same to the last byte" } else { "not the same" };
    writeln!(out, "{name}: {same}: {}", verdict.digest)?;
    for line in &verdict.differences {
        writeln!(out, "  {line}")?;
    }
    match (same_as_published, &verdict.published) {
        (Some(true), _) => writeln!(out, "  it is the published one"),
        (_, Some(digest)) => {
            writeln!(out, "  it is not the published one, {digest}: its program comes from other sources or another toolchain")
        }
        (_, None) => Ok(()),
    }
}

fn list(format: Format, epoch: Epoch, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let rows: Vec<Row> = bottle_builder::names(&layout.config)?.into_iter().map(|name| row(name, epoch, layout)).collect();
    output(match format {
        Format::Json => json(&rows, out),
        Format::Text => text(&rows, out),
    })
}

fn row(name: String, epoch: Epoch, layout: &Layout) -> Row {
    let found =
        bottle_builder::find(&name, &layout.config).and_then(|recipe| bottle_builder::existing(&recipe, &Installed, epoch, &layout.images));
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

fn cannot_export(name: &str, cause: impl Into<Source>) -> Error {
    Error::failed(format!("cannot export the image `{name}`"), cause, "check the space and the permissions, then try again")
}
