//! Where the sidecars' programs are: beside bottle, or in its library directory.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bottle_builder::Programs;

use crate::error::{Error, Result};

/// Names another directory with the sidecars' programs.
pub const DIRECTORY: &str = "BOTTLE_LIBEXEC";

/// The name of a sidecar's program.
pub fn file_name(component: &str) -> String {
    format!("bottle-{component}")
}

/// Opens the program of a sidecar. It is executed by this descriptor, so that nothing can come between.
pub fn find(component: &str) -> Result<OwnedFd> {
    locate(component).map(|(_, file)| file.into())
}

/// Where a program is that runs outside of bottles.
pub fn path(component: &str) -> Result<PathBuf> {
    locate(component).map(|(path, _)| path)
}

fn locate(component: &str) -> Result<(PathBuf, File)> {
    let name = file_name(component);
    let mut tried = Vec::new();
    for directory in directories() {
        let path = directory.join(&name);
        match File::open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) => tried.push(format!("{}: {error}", path.display())),
        }
    }
    Err(Error::failed(
        format!("the program of `{component}` is not installed"),
        tried.join("; "),
        format!("run `make build`, or set {DIRECTORY} to the directory that has `{name}`"),
    ))
}

/// The sidecars' programs, for images of them.
#[derive(Clone, Copy, Debug)]
pub struct Installed;

impl Programs for Installed {
    fn program(&self, component: &str) -> Result<File> {
        find(component).map(File::from)
    }

    fn materials(&self, component: &str) -> Option<File> {
        // Beside the program that is found, and only there.
        let name = file_name(component);
        let directory = directories().into_iter().find(|directory| directory.join(&name).exists())?;
        File::open(directory.join(format!("{name}.cdx.json"))).ok()
    }

    fn images(&self) -> Option<PathBuf> {
        directories().into_iter().map(|directory| directory.join("images")).find(|images| images.is_dir())
    }
}

fn directories() -> Vec<PathBuf> {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return vec![directory.into()];
    }
    let executable = std::env::current_exe().unwrap_or_default();
    let beside = executable.parent().unwrap_or(Path::new("/")).to_owned();
    vec![beside.join("../libexec/bottle"), beside]
}
