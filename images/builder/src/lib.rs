//! Image archives: read, checked against their digests and unpacked once, as root file systems; and written, so that the same inputs give
//! the same bytes on every machine.
//!
//! ```text
//! image.yaml ─▶ recipe ─▶ tree ─▶ ustar ─▶ oci ─▶ archive in the store ─▶ unpacked, or loaded by an engine
//! ```
//!
//! The first five are pure. What is written depends on the recipe, on the bytes of the programs and files that it names, and on
//! `SOURCE_DATE_EPOCH`; on no clock, owner, mode mask, order of a directory, or name of a machine.

mod archive;
mod attestations;
mod build;
mod compare;
mod directory;
mod epoch;
mod hashed;
mod inputs;
mod layer;
mod library;
mod materials;
mod oci;
pub mod path;
pub mod recipe;
mod store;
pub mod tree;
mod unpack;
pub mod ustar;
mod verify;

pub use build::{Archive, build, existing};
pub use epoch::{Epoch, VARIABLE as EPOCH_VARIABLE};
pub use inputs::Programs;
pub use library::{find, names};
pub use recipe::Recipe;
pub use unpack::{config_digest, unpacked};
pub use verify::{Verdict, verify};
