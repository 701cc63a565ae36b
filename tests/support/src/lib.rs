//! What bottle's own tests stand on. Synchronous, and apart from `bottle` itself, so that a fault there cannot hide here.

pub mod deadline;
pub mod origin;
pub mod tools;
