//! Backends: how a plan is performed. Each performs the same steps, and undoes them in reverse.
//!
//! `kind` knows every backend, each backend knows what lies below both (`kernel`, `provision`, `spec`, …), and nothing there knows a
//! backend. `tests/it/tidy.rs` refuses a circle.

pub mod compose;
pub mod embedded;
mod etc;
mod hidden;
pub mod host_tree;
pub mod ids;
pub mod kernel;
pub mod kind;
mod mounts;
pub mod prepared_workspace;
mod products;
mod provision;
pub mod reconfigure;
pub mod repository;
pub mod sidecar_programs;
mod spec;
mod stdio;

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use bottle_init::control::Channel;
use rustix::process::Pid;

use crate::error::{Error, Result};
use crate::plan::{Plan, Step};
use crate::store::{Claim, Object};
use crate::values::Values;
pub use products::{Listener, Products};
pub use stdio::Stdio;

/// One way to perform a plan.
pub trait Backend {
    /// Everything that can be known to fail before anything is made. Returns what the operator should know before saying yes.
    fn check(&self, plan: &Plan) -> Result<Vec<String>>;

    /// Performs a step. What it makes outside the state directory is recorded in the claim first.
    fn apply(&mut self, step: &Step, start: &mut Start<'_>) -> Result<Effect>;

    /// Removes an object that a step recorded, at once or after a crash. A missing object is success.
    fn undo(&mut self, object: &Object, claim: &Claim, logs: Logs) -> Result<()>;
}

/// What a step works with.
pub struct Start<'s> {
    /// What is to be made.
    pub plan: &'s Plan,
    /// What the plan only names.
    pub input: &'s Input,
    /// What earlier steps made for later ones.
    pub products: &'s mut Products,
    /// Where an object is recorded before it is made.
    pub claim: &'s mut Claim,
}

/// What a backend needs besides the plan.
pub struct Input {
    /// The values that the plan names.
    pub values: Values,
    /// Rows and columns of the operator's terminal.
    pub window: (u16, u16),
    /// What the roots are made of.
    pub images: Images,
}

/// What the components' roots are made of, where it is not the host's own tree.
#[derive(Debug, Default)]
pub struct Images {
    /// The unpacked image that the agent's root is made of.
    pub root: Option<PathBuf>,
    /// The image of each component, for an engine.
    pub archives: BTreeMap<String, Archive>,
}

/// An image that an engine can load.
#[derive(Clone, Debug)]
pub struct Archive {
    /// `sha256:…` of its configuration: what the engine calls it.
    pub id: String,
    /// The archive.
    pub path: PathBuf,
}

/// What a step has come to.
#[derive(Debug)]
pub enum Effect {
    /// It is done; sentences for the operator.
    Done(Vec<String>),
    /// A component runs from here on.
    Spawned(Process),
    /// It goes on when this descriptor is readable.
    Pending(OwnedFd, Box<dyn Resume>),
}

/// A step that waits. Dropped, what it waits for is called off.
pub trait Resume: fmt::Debug {
    /// Goes on, now that the descriptor is readable.
    fn resume(self: Box<Self>, start: &mut Start<'_>) -> Result<Effect>;

    /// The error if it takes too long.
    fn overdue(&self) -> Error;
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
    /// The sockets that it opens for sidecars and sends, in this order. The next step must wait for them.
    pub opens: Vec<Listener>,
}

/// What becomes of the logs that a backend keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logs {
    /// They go into the state directory.
    Kept,
    /// The state directory is removed next. Nothing is written: a full disk must not stand in the way.
    Removed,
}

/// Undoes everything that is recorded of a bottle whose processes have ended, last first: the same after a run and after a crash. Every
/// failure is returned, and the first does not stop the others.
pub fn undo(backend: &mut dyn Backend, claim: &mut Claim, logs: Logs) -> Vec<Error> {
    let mut errors = Vec::new();
    for object in claim.metadata().objects.clone().iter().rev() {
        let undone = match object {
            // For `bottle diff` and `bottle apply`.
            Object::WorkspaceDir(_) => continue,
            Object::RuntimeDir(_) => claim.remove_runtime(),
            other => backend.undo(other, claim, logs),
        };
        match undone {
            Ok(()) if logs == Logs::Removed => {}
            Ok(()) => errors.extend(claim.forget(object).err()),
            Err(error) => errors.push(error),
        }
    }
    errors
}
