//! The names that this program uses: single components, so that none can leave its directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use bottle_contract::Untrusted;

use crate::error::{Error, Result};

/// The longest name that Linux' file systems take (NAME_MAX).
const MAX_NAME_BYTES: usize = 255;

/// `name`, if it is one component of a path.
pub(crate) fn component(name: &OsStr) -> Result<&OsStr> {
    let bytes = name.as_bytes();
    let why = match bytes {
        b"" => "it is empty",
        b"." | b".." => "it names a directory's own place",
        _ if bytes.contains(&b'/') => "it has a slash",
        _ if bytes.contains(&0) => "it has a NUL",
        _ if bytes.len() > MAX_NAME_BYTES => "it is longer than 255 bytes",
        _ => return Ok(name),
    };
    Err(Error::failed(format!("`{}` is not a file name", Untrusted::new(bytes)), why, "a file name is one component of a path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: X04
    #[test]
    fn only_a_single_component_is_a_name() {
        let long = "x".repeat(256);
        for hostile in ["", ".", "..", "a/b", "../x", "/", "a\0b", long.as_str()] {
            assert!(component(OsStr::new(hostile)).is_err(), "{hostile:?}");
        }
        for fine in ["key.pem", "-rf", "...", "a b", "\u{1b}[2J", &long[1..]] {
            assert_eq!(component(OsStr::new(fine)).unwrap(), OsStr::new(fine));
        }
    }
}
