//! Manifests: Markdown files with YAML front matter that define agents and bottles.
//!
//! bytes → [`front_matter`] → [`raw`] (YAML, strict) → [`library`] (names, `extends`, precedence) → [`bottle`]
//! (values) → [`model`]. Everything is pure except [`load`], which reads the files once.

pub mod bottle;
pub mod brought;
pub mod built_in;
pub mod credentials;
pub mod edit;
pub mod env;
pub mod front_matter;
pub mod host_path;
pub mod library;
pub mod load;
pub mod measure;
pub mod model;
pub mod model_apis;
pub mod notes;
pub mod preset;
pub mod provider;
pub mod raw;
pub mod reach;
pub mod repo;
pub mod route;
pub mod source;
pub mod token;

pub use bottle_base::key;
pub use library::Library;
pub use load::load;
pub use source::{Kind, Source};
