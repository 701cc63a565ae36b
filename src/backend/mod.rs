//! Backends: how a plan is performed. Each performs the same steps, and undoes them in reverse.

pub mod compose;
pub mod embedded;
mod etc;
mod hidden;
pub mod host_tree;
pub mod ids;
mod mounts;
pub mod prepared_workspace;
mod provision;
pub mod repository;
pub mod sidecar_programs;
mod spec;
mod stdio;
pub mod undo;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use bottle_init::control::Channel;
use rustix::process::Pid;

use crate::error::{Error, Result};
use crate::plan::Step;
use crate::store::Claim;
use crate::values::Values;
pub use stdio::Stdio;

/// What a backend needs besides the plan.
pub struct BackendInput {
    /// The values that the plan names.
    pub values: Values,
    /// Rows and columns of the operator's terminal.
    pub window: (u16, u16),
    /// The unpacked image that the agent's root is made of.
    pub image: Option<PathBuf>,
    /// The image of each component, for an engine.
    pub archives: BTreeMap<String, Archive>,
}

impl BackendInput {
    /// For a look at the host only.
    pub fn empty() -> Self {
        Self { values: Values::nothing(), window: (0, 0), image: None, archives: BTreeMap::new() }
    }
}

/// An image that an engine can load.
#[derive(Clone, Debug)]
pub struct Archive {
    /// `sha256:…` of its configuration: what the engine calls it.
    pub id: String,
    /// The archive.
    pub path: PathBuf,
}

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
}

/// One way to perform a plan.
pub trait Backend {
    /// Its name in metadata and messages.
    fn name(&self) -> &'static str;

    /// Everything that can be known to fail before anything is made; what the operator should know besides.
    fn check(&self) -> Result<Vec<String>>;

    /// Performs a step. What it makes outside the state directory is recorded in `claim` first.
    fn apply(&mut self, step: &Step, claim: &mut Claim) -> Result<Effect>;

    /// Goes on with the step that waits, now that its descriptor is readable.
    fn resume(&mut self, claim: &mut Claim) -> Result<Effect>;

    /// What the step that waits waits for, in the words of an error.
    fn pending_error(&mut self) -> Option<Error>;

    /// Takes the sockets that a component opened for others, in the order of the plan.
    fn listeners(&mut self, sockets: Vec<OwnedFd>) -> Result<()>;

    /// What the last step could not take along, for the operator.
    fn notes(&mut self) -> Vec<String>;

    /// The agent runs: what only the start needed, secrets first of all, is forgotten.
    fn released(&mut self);

    /// Undoes what all steps made, last first. A missing object is success; every failure is reported, the first does
    /// not stop the others.
    fn undo(&mut self, claim: &mut Claim) -> Vec<Error>;
}

/// Removes a bottle's workspace, with the agent's changes. On an engine, root may have a part in it.
pub fn remove_workspace(claim: &Claim) -> Result<()> {
    match claim.metadata().backend == Kind::Compose.name() {
        true => compose::emptier::workspace(claim),
        false => claim.state().remove_tree("workspace"),
    }
}

/// What a step has started.
#[derive(Debug)]
pub enum Effect {
    /// It is done.
    Done,
    /// A component runs from here on.
    Spawned(Process),
    /// A component runs, and the next step must wait until it has opened its sockets.
    SpawnedThenListeners(Process),
    /// It goes on, by [`Backend::resume`], when this descriptor is readable.
    Pending(OwnedFd),
}

/// A running component, as the supervisor watches it.
#[derive(Debug)]
pub struct Process {
    /// Its name.
    pub component: String,
    /// Its first process on the host.
    pub pid: Pid,
    /// The same, beyond any reuse of the number.
    pub pidfd: OwnedFd,
    /// The way to talk to its first process.
    pub control: Channel,
    /// Its first process only holds it, and passes signals on to its program.
    pub held: bool,
    /// What is read from it, and written to it.
    pub stdio: Stdio,
}
