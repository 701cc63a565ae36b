//! Which backends there are. The only file that names them all: add a backend with a row here.

use super::Backend;
use super::compose::engine::Engine;
use super::compose::{Compose, emptier};
use super::embedded::Embedded;
use crate::error::Result;
use crate::store::Claim;

/// The backends that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Namespaces, without a daemon
    Embedded,
    /// Docker, by docker compose
    Compose,
}

impl Kind {
    /// Its name in metadata and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Compose => "compose",
        }
    }

    /// Who made a bottle. One that was killed before its backend was recorded has nothing but what every backend can remove.
    pub fn of(claim: &Claim) -> Self {
        if claim.metadata().backend == Self::Compose.name() { Self::Compose } else { Self::Embedded }
    }

    /// The backend, for a start.
    pub fn open(self) -> Result<Box<dyn Backend>> {
        Ok(match self {
            Self::Embedded => Box::new(Embedded::new()),
            Self::Compose => Box::new(Compose::new(Engine::find()?)),
        })
    }

    /// Whether it can make addresses local to the agent's network, so that programs without a proxy can dial names. On an engine no process
    /// in the agent's container has the privilege.
    pub fn has_local_names(self) -> bool {
        match self {
            Self::Embedded => true,
            Self::Compose => false,
        }
    }

    /// The backend, to remove what an earlier start made: it need not be able to start anything.
    pub fn for_removal(self) -> Box<dyn Backend> {
        match self {
            Self::Embedded => Box::new(Embedded::new()),
            Self::Compose => Box::new(Compose::for_removal()),
        }
    }

    /// Removes a bottle's workspace, with the agent's changes. On an engine, root may have made a part of it.
    pub fn remove_workspace(self, claim: &Claim) -> Result<()> {
        match self {
            Self::Embedded => claim.state().remove_tree("workspace"),
            Self::Compose => emptier::workspace(claim),
        }
    }
}
