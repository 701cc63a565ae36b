//! Backends: how a plan is performed. Each performs the same steps, and undoes them in reverse.

pub mod embedded;

use std::os::fd::OwnedFd;

use bottle_init::control::Channel;
use rustix::process::Pid;

use crate::error::Result;
use crate::plan::Step;
use crate::store::Claim;

/// One way to perform a plan.
pub trait Backend {
    /// Its name in metadata and messages.
    fn name(&self) -> &'static str;

    /// Everything that can be known to fail before anything is made; what the operator should know besides.
    fn check(&self) -> Result<Vec<String>>;

    /// Performs a step. What it makes outside the state directory is recorded in `claim` first.
    fn apply(&mut self, step: &Step, claim: &mut Claim) -> Result<Applied>;

    /// Takes the sockets that a piece opened for others, in the order of the plan.
    fn listeners(&mut self, sockets: Vec<OwnedFd>) -> Result<()>;

    /// What the last step could not take along, for the operator.
    fn left_out(&mut self) -> Vec<String>;

    /// The agent runs: what only the start needed, secrets first of all, is forgotten.
    fn released(&mut self);

    /// Undoes what all steps made, last first. A missing object is success; every failure is reported, the first does
    /// not stop the others.
    fn undo(&mut self, claim: &mut Claim) -> Vec<crate::error::Error>;
}

/// Undoes everything that is recorded of a bottle whose processes are gone or have lost their supervisor.
pub fn undo_objects(claim: &mut Claim) -> Vec<crate::error::Error> {
    embedded::undo_objects(claim)
}

/// What a step has started.
#[derive(Debug)]
pub enum Applied {
    /// It is done.
    Done,
    /// A piece runs from here on.
    Piece(Cell),
    /// A piece runs, and the next step must wait until it has opened its sockets.
    PieceThenListeners(Cell),
}

/// A running piece, as the supervisor watches it.
#[derive(Debug)]
pub struct Cell {
    /// Its name.
    pub piece: String,
    /// Its first process on the host.
    pub pid: Pid,
    /// The same, beyond any reuse of the number.
    pub pidfd: OwnedFd,
    /// The way to talk to its first process.
    pub control: Channel,
    /// What it prints: a name for the log, and the end to read from.
    pub outputs: Vec<(&'static str, OwnedFd)>,
    /// Where its standard input is written to.
    pub input: Option<OwnedFd>,
    /// Where it says that it serves.
    pub ready: Option<OwnedFd>,
}
