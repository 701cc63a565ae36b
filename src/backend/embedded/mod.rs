//! The embedded backend: namespaces, no daemon, no root, nothing to install.

pub mod ids;
pub mod spawn;
