//! Names of entries in an image: relative, plain, and no two that a file system could take for one.

use std::collections::BTreeMap;

use bottle_contract::Untrusted;
use unicode_normalization::UnicodeNormalization;

/// The path of an entry, from the root of the image, without a leading or trailing slash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryPath(Vec<u8>);

impl EntryPath {
    /// Takes a path that an image may have, or says in a few words why it may not.
    pub fn new(path: impl Into<Vec<u8>>) -> Result<Self, String> {
        let path = path.into();
        let shown = || Untrusted::new(&path).to_string();
        if path.first() == Some(&b'/') {
            return Err(format!("`{}` is absolute; a path of an image starts at its root without a slash", shown()));
        }
        if path.contains(&0) {
            return Err(format!("`{}` has a NUL in it", shown()));
        }
        for part in path.split(|byte| *byte == b'/') {
            match part {
                b"" => return Err(format!("`{}` has an empty part", shown())),
                b"." | b".." => return Err(format!("`{}` has `{}` in it", shown(), Untrusted::new(part))),
                // It would delete what a lower layer has (OCI image specification, "Whiteouts").
                part if part.starts_with(b".wh.") => return Err(format!("`{}` would delete a file of another layer", shown())),
                _ => {}
            }
        }
        Ok(Self(path))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directories above it, the topmost first.
    pub fn parents(&self) -> impl Iterator<Item = Self> {
        self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| Self(self.0[..at].to_vec()))
    }

    /// An entry of this directory.
    pub fn join(&self, name: &[u8]) -> Result<Self, String> {
        Self::new([self.as_bytes(), b"/", name].concat())
    }
}

impl std::fmt::Display for EntryPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Untrusted::new(&self.0).fmt(f)
    }
}

/// The names of an image so far, by what is left of them on a file system that ignores case or normalises.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<Vec<u8>, EntryPath>);

impl Names {
    /// Adds a name and those of the directories above. One that differs from an earlier name in case or normalisation only is refused; the same name is not.
    pub fn add(&mut self, path: &EntryPath) -> Result<(), String> {
        for path in path.parents().chain([path.clone()]) {
            let earlier = self.0.entry(folded(path.as_bytes())).or_insert_with(|| path.clone());
            if *earlier != path {
                return Err(format!("`{path}` and `{earlier}` are one name where case or normalisation does not count"));
            }
        }
        Ok(())
    }
}

/// What is left of a name: upper case, lower case again (so that `ß` meets `SS`, and the long s meets `s`), and NFC. Bytes that are no
/// UTF-8 have neither case nor normalisation beyond ASCII.
fn folded(name: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(name) {
        Ok(text) => text.nfc().collect::<String>().to_uppercase().to_lowercase().nfc().collect::<String>().into_bytes(),
        Err(_) => name.to_ascii_lowercase(),
    }
}
