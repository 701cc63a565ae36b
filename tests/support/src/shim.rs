//! Copies of `bottle-shim`, each of which misbehaves in its own way.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::warden::Warden;

/// Bytes of what is replaced.
pub const LENGTH: usize = 32;
/// What is replaced.
pub const MARK: [u8; LENGTH] = *b"the behaviour of a bottle's shim";

/// Makes a program at `path` that does `behaviour`: see `bottle-shim`.
pub fn make(path: &Path, behaviour: &str) {
    let program = Warden::program().with_file_name("bottle-shim");
    assert!(program.is_file(), "{} is missing: `cargo build -p bottle-test-support` makes it", program.display());
    let mut bytes = fs::read(program).expect("the shim is readable");
    let places: Vec<usize> = bytes.windows(LENGTH).enumerate().filter(|(_, window)| *window == MARK).map(|(place, _)| place).collect();
    assert!(!places.is_empty() && behaviour.len() <= LENGTH);
    for place in places {
        bytes[place..place + LENGTH].fill(b' ');
        bytes[place..place + behaviour.len()].copy_from_slice(behaviour.as_bytes());
    }
    fs::write(path, bytes).expect("the shim is written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the shim is executable");
}
