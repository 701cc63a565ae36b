//! A bottle that runs, and how commands reach it.

use std::path::{Path, PathBuf};

use super::named;
use crate::control_socket::{self, Request, Response};
use crate::error::{Error, Result};
use crate::store::{Bottles, Entry, Layout, Metadata, Object, Status};

/// A running bottle.
pub(super) struct Running {
    pub(super) id: String,
    pub(super) metadata: Metadata,
    runtime: PathBuf,
}

impl Running {
    /// The bottle of this id; an error if it does not run.
    pub(super) fn named(layout: &Layout, id: &str) -> Result<Self> {
        let entry = named(layout, id)?;
        Self::of(entry).ok_or_else(|| {
            Error::usage(format!("bottle `{id}` does not run"), "no supervisor holds it", "`bottle list` shows which bottles run")
        })
    }

    /// All bottles that run.
    pub(super) fn all(layout: &Layout) -> Result<Vec<Self>> {
        Ok(Bottles::list(layout)?.into_iter().filter_map(Self::of).collect())
    }

    fn of(entry: Entry) -> Option<Self> {
        let Entry { id, status: Status::Running, metadata: Some(metadata), .. } = entry else { return None };
        let runtime = metadata.objects.iter().find_map(|object| match object {
            Object::RuntimeDir(path) => Some(path.clone()),
            _ => None,
        })?;
        Some(Self { id: id.to_string(), metadata, runtime })
    }

    /// Asks its supervisor.
    pub(super) fn ask(&self, request: &Request) -> Result<Response> {
        control_socket::ask(Path::new(&self.runtime), request)
    }

    /// The error of an answer to another question.
    pub(super) fn unexpected(&self) -> Error {
        Error::bug(format!("bottle `{}` answers another question", self.id), "its response is of another kind")
    }
}
