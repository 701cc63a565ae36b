//! The sources of definitions: files with a kind, a name and an origin.

use std::fmt;
use std::path::Path;

use bottle_contract::Untrusted;

use super::front_matter::{self, Document};
use super::model::Origin;
use crate::error::{Error, Result};
use crate::yaml::Problem;

/// The kind of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An agent.
    Agent,
    /// A bottle.
    Bottle,
    /// A provider.
    Provider,
}

impl Kind {
    /// The directory of its manifests.
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Agent => "agents",
            Self::Bottle => "bottles",
            Self::Provider => "providers",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Bottle => "bottle",
            Self::Provider => "provider",
        })
    }
}

/// A manifest's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its kind.
    pub kind: Kind,
    /// The name that it defines.
    pub name: String,
    /// Its origin.
    pub origin: Origin,
    /// Its content, or why it cannot be read.
    pub content: Result<Vec<u8>>,
}

impl Source {
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.origin {
            Origin::BuiltIn => None,
            Origin::Home(path) | Origin::Repo(path) => Some(path),
        }
    }

    pub(super) fn document(&self) -> Result<Document> {
        front_matter::split(self.content.as_ref().map_err(Clone::clone)?).map_err(|problem| self.error(problem))
    }

    /// The problem as an error that names the file.
    pub(super) fn error(&self, problem: Problem) -> Error {
        let place = describe(&self.origin);
        Error::usage(
            format!("{} `{}` cannot be used", self.kind, Untrusted::new(&self.name)),
            format!("{place}:{}:{}: {}", problem.line, problem.column, problem.what),
            problem.hint,
        )
    }
}

/// Describes an origin.
pub fn describe(origin: &Origin) -> String {
    match origin {
        Origin::BuiltIn => "built-in".to_owned(),
        Origin::Home(path) | Origin::Repo(path) => Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string(),
    }
}
