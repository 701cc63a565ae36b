//! Manifests: Markdown files with YAML front matter that define agents and bottles.

pub mod model;
