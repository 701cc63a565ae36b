//! What the objects of a bottle are called at an engine. Pure.

use std::path::Path;

use crate::digest::sha256_hex;

/// Whose bottles these are, as a label: every object carries it.
pub fn owner(state: &Path) -> String {
    sha256_hex(state.as_os_str().as_encoded_bytes())[..16].to_owned()
}

/// The project of a bottle. Two users of an engine may have bottles of one name.
pub fn project(id: &str, owner: &str) -> String {
    format!("bottle-{id}-{}", &owner[..8])
}

/// True for a path that can be an option of a mount: these are separated by commas, and layers by colons.
pub(super) fn is_plain_option(path: &Path) -> bool {
    path.to_str().is_some_and(|path| !path.contains([',', ':', '\\', '"']))
}
