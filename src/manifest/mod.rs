//! Manifests: Markdown files with YAML front matter that define agents and bottles.
//!
//! bytes → [`front_matter`] → [`raw`] (YAML, strict) → [`library`] (names, `extends`, who wins) → [`bottle`]
//! (each value checked) → [`model`]. All of it is pure but [`sources`], which reads the files, once.

pub mod bottle;
pub mod env;
pub mod front_matter;
pub mod git;
pub mod library;
pub mod measure;
pub mod model;
pub mod notes;
pub mod place;
pub mod raw;
pub mod route;
pub mod sources;
pub mod starter;

pub use bottle_base::key;
pub use library::{Kind, Library};
pub use sources::load;
