//! Secrets that exist nowhere else, and the search for wherever they went.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

/// As many letters and digits as a GitHub token has after its prefix, and more entropy than chance can meet.
const LENGTH: usize = 36;

/// A fresh random secret. It does not show itself in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Canary {
    name: String,
    value: String,
}

impl Canary {
    /// A secret that reports will call `name`.
    pub fn new(name: &str) -> Self {
        Self::like(name, "")
    }

    /// The same, behind a prefix such as `ghp_`, to look like a vendor's token.
    pub fn like(name: &str, prefix: &str) -> Self {
        const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut random = [0; LENGTH];
        File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).expect("random bytes");
        let letters = random.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]));
        Self { name: name.to_owned(), value: prefix.chars().chain(letters).collect() }
    }

    /// The secret itself.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What reports call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every spelling that is searched for, and its name: raw, hex, and base64 as it appears at each of the three offsets
    /// that a text can have in what is encoded with it.
    fn spellings(&self) -> BTreeSet<(Vec<u8>, String)> {
        let bytes = self.value.as_bytes();
        let mut spellings = BTreeSet::from([
            (bytes.to_vec(), "raw".to_owned()),
            (HEXLOWER.encode(bytes).into_bytes(), "hex".to_owned()),
            (HEXUPPER.encode(bytes).into_bytes(), "hex".to_owned()),
        ]);
        for offset in 0..3 {
            let shifted = [&vec![0; offset][..], bytes].concat();
            // A character holds six bits: those that also hold bits of what stands before or behind are left out.
            let (first, last) = ((offset * 8).div_ceil(6), shifted.len() * 8 / 6);
            for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
                let encoded = encoding.encode(&shifted);
                spellings.insert((encoded.as_bytes()[first..last].to_vec(), format!("base64 at offset {offset}")));
            }
        }
        spellings
    }
}

impl fmt::Debug for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Canary({})", self.name)
    }
}

/// A place where a secret was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sighting {
    /// Which.
    pub canary: String,
    /// In which spelling.
    pub spelling: String,
    /// A file, `/proc/PID/environ`, or what the caller named.
    pub place: String,
}

/// A search for some secrets.
#[derive(Debug)]
pub struct Sweep {
    machine: AhoCorasick,
    /// The canary's name and the spelling's, by the machine's pattern.
    names: Vec<(String, String)>,
}

impl Sweep {
    /// Prepares to search for these.
    pub fn new(canaries: &[Canary]) -> Self {
        let (mut patterns, mut names) = (Vec::new(), Vec::new());
        for canary in canaries {
            for (pattern, spelling) in canary.spellings() {
                patterns.push(pattern);
                names.push((canary.name.clone(), spelling));
            }
        }
        Self { machine: AhoCorasick::new(patterns).expect("a few short patterns"), names }
    }

    /// Searches what a run said, or anything else in memory.
    pub fn text(&self, place: &str, bytes: &[u8]) -> BTreeSet<Sighting> {
        self.machine.find_iter(bytes).map(|found| self.sighting(found.pattern().as_usize(), place)).collect()
    }

    /// Searches names, link targets and contents of everything below `directory`. Nothing is followed, and what is neither a
    /// file nor a link has only its name searched.
    pub fn directory(&self, directory: &Path) -> BTreeSet<Sighting> {
        let mut found = BTreeSet::new();
        let Ok(entries) = fs::read_dir(directory) else { return found };
        for entry in entries.filter_map(Result::ok) {
            let (path, kind) = (entry.path(), entry.file_type().ok());
            let place = path.to_string_lossy();
            found.extend(self.text(&format!("the name of {place}"), entry.file_name().as_bytes()));
            match kind {
                Some(kind) if kind.is_dir() => found.extend(self.directory(&path)),
                Some(kind) if kind.is_file() => found.extend(File::open(&path).map(|file| self.stream(&place, file)).unwrap_or_default()),
                Some(kind) if kind.is_symlink() => {
                    let target = fs::read_link(&path).unwrap_or_default();
                    found.extend(self.text(&format!("the target of {place}"), target.as_os_str().as_bytes()));
                }
                _ => {}
            }
        }
        found
    }

    /// Searches the environment and command line of every process that may be read, except those in `allowed`.
    pub fn processes(&self, allowed: &[i32]) -> BTreeSet<Sighting> {
        let Ok(entries) = fs::read_dir("/proc") else { return BTreeSet::new() };
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let files =
            pids.filter(|pid| !allowed.contains(pid)).flat_map(|pid| ["environ", "cmdline"].map(|name| format!("/proc/{pid}/{name}")));
        files.filter_map(|place| fs::read(&place).ok().map(|bytes| self.text(&place, &bytes))).flatten().collect()
    }

    fn stream(&self, place: &str, reader: impl Read) -> BTreeSet<Sighting> {
        let found = self.machine.stream_find_iter(reader).map_while(|found: io::Result<_>| found.ok());
        found.map(|found| self.sighting(found.pattern().as_usize(), place)).collect()
    }

    fn sighting(&self, pattern: usize, place: &str) -> Sighting {
        let (canary, spelling) = self.names[pattern].clone();
        Sighting { canary, spelling, place: place.to_owned() }
    }
}

/// Searches directories and processes; `allowed` were given a secret on purpose.
pub fn sweep(canaries: &[Canary], directories: &[PathBuf], allowed: &[i32]) -> BTreeSet<Sighting> {
    let search = Sweep::new(canaries);
    directories.iter().flat_map(|directory| search.directory(directory)).chain(search.processes(allowed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use data_encoding::BASE64;

    fn spellings(canary: &Canary, text: &[u8]) -> Vec<String> {
        Sweep::new(std::slice::from_ref(canary)).text("here", text).into_iter().map(|sighting| sighting.spelling).collect()
    }

    #[test]
    fn a_secret_is_found_in_every_spelling() {
        let canary = Canary::like("token", "ghp_");
        let value = canary.value();
        assert_eq!(spellings(&canary, format!("a{value}b").as_bytes()), ["raw"]);
        assert_eq!(spellings(&canary, HEXUPPER.encode(value.as_bytes()).as_bytes()), ["hex"]);
        for before in 0..7 {
            let text = format!("{}{value}{}", "x".repeat(before), "y".repeat(before));
            let expected = [format!("base64 at offset {}", before % 3)];
            assert_eq!(spellings(&canary, BASE64.encode(text.as_bytes()).as_bytes()), expected, "{before}");
            assert_eq!(spellings(&canary, BASE64URL_NOPAD.encode(text.as_bytes()).as_bytes()), expected, "{before}");
        }
    }

    #[test]
    fn another_secret_is_not_found() {
        let (one, other) = (Canary::new("one"), Canary::new("other"));
        assert_ne!(one.value(), other.value());
        assert_eq!(spellings(&one, other.value().as_bytes()), Vec::<String>::new());
    }

    #[test]
    fn debug_does_not_show_it() {
        let canary = Canary::new("token");
        assert_eq!(format!("{canary:?}"), "Canary(token)");
    }

    #[test]
    fn names_targets_and_contents_are_searched() {
        let canary = Canary::new("token");
        let directory = tempfile::tempdir().unwrap();
        let (root, value) = (directory.path(), canary.value());
        fs::create_dir(root.join("deep")).unwrap();
        // Longer than any buffer, so that the secret lies across a border.
        fs::write(root.join("deep/log"), format!("{}{value}", "-".repeat(65_530))).unwrap();
        fs::write(root.join(format!("{value}.txt")), "").unwrap();
        std::os::unix::fs::symlink(value, root.join("link")).unwrap();
        let places: Vec<String> =
            sweep(std::slice::from_ref(&canary), &[root.to_path_buf()], &[]).into_iter().map(|sighting| sighting.place).collect();
        let root = root.display();
        assert_eq!(places, [format!("{root}/deep/log"), format!("the name of {root}/{value}.txt"), format!("the target of {root}/link")]);
    }
}
