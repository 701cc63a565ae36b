//! What bottle's own tests stand on. Synchronous, and apart from `bottle` itself, so that a fault there cannot hide here.
//!
//! - [`bottle`]: the program in directories of its own. [`run`]: a run of it, and all that it said.
//! - [`residue`]: whatever a run left behind. [`canary`]: wherever a secret went. Both are asked after every run.
//! - [`warden`]: the parent of each run, to which orphans fall, so that none is lost and no stranger is taken for one.
//! - [`pty`]: an operator's terminal.
//! - [`origin`]: the far end, asked instead of bottle's own word.
//! - [`child`]: one test function in a process of its own.
//! - [`cases`]: which cases of the catalogue have a test.
//! - [`imports`]: which files import each other.

pub mod bottle;
pub mod canary;
pub mod cases;
pub mod child;

pub mod deadline;
pub mod engine;
pub mod imports;
pub mod origin;
pub mod process;
pub mod pty;
pub mod residue;
pub mod run;
pub mod shim;
pub mod tools;
pub mod warden;
