//! Which files git tracks, from its index (gitformat-index(5), versions 2 to 4): names only.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// No repository's index is larger: a million files take a hundred megabytes.
const MAX_INDEX_BYTES: u64 = 512 << 20;
/// Bytes of an entry before its flags: times, numbers, mode, owner, size and object id.
const FIXED: usize = 60;
const EXTENDED: u16 = 0x4000;

/// The files that git tracks in a working tree. None, if it is no repository, or its index cannot be read.
pub fn tracked(top: &Path) -> HashSet<PathBuf> {
    let git = top.join(".git");
    let git = match fs::symlink_metadata(&git) {
        Ok(meta) if meta.is_file() => match fs::read(&git) {
            Ok(text) => top.join(OsString::from_vec(text.strip_prefix(b"gitdir: ").unwrap_or_default().trim_ascii().to_vec())),
            Err(_) => return HashSet::new(),
        },
        _ => git,
    };
    let mut bytes = Vec::new();
    let read = fs::File::open(git.join("index")).and_then(|file| file.take(MAX_INDEX_BYTES).read_to_end(&mut bytes));
    if read.is_ok() { parse(&bytes).unwrap_or_default() } else { HashSet::new() }
}

fn parse(bytes: &[u8]) -> Option<HashSet<PathBuf>> {
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if bytes.get(..4)? != b"DIRC" {
        return None;
    }
    let (version, count) = (number(4)?, number(8)?);
    if !(2..=4).contains(&version) {
        return None;
    }
    let mut found = HashSet::new();
    let (mut at, mut name) = (12, Vec::new());
    for _ in 0..count {
        let begin = at;
        let flags = u16::from_be_bytes(bytes.get(at + FIXED..at + FIXED + 2)?.try_into().ok()?);
        at += FIXED + 2 + if version > 2 && flags & EXTENDED != 0 { 2 } else { 0 };
        if version == 4 {
            let (cut, length) = offset(bytes.get(at..)?)?;
            at += length;
            name.truncate(name.len().checked_sub(cut)?);
        } else {
            name.clear();
        }
        let rest = bytes.get(at..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        name.extend_from_slice(&rest[..end]);
        at += end + 1;
        if version < 4 {
            // One to eight zeroes up to a multiple of eight.
            at = begin + (at - begin).next_multiple_of(8);
        }
        found.insert(OsString::from_vec(name.clone()).into());
    }
    Some(found)
}

/// The variable-width number of a pack's offsets, and its length.
fn offset(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0usize;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        let low = usize::from(byte & 0x7f);
        value = if index == 0 { low } else { ((value + 1) << 7) | low };
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn an_index_of_every_version_is_read() {
        let home = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let ended = Command::new("git").args(arguments).current_dir(home.path()).env("HOME", home.path()).output().unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        };
        git(&["init", "-q"]);
        fs::create_dir_all(home.path().join("src/deep")).unwrap();
        let names = ["a", "ab", "src/deep/one.rs", "src/deep/one.rs.bak", "src/other", "z"];
        names.iter().for_each(|name| fs::write(home.path().join(name), "x").unwrap());
        fs::write(home.path().join("untracked"), "x").unwrap();
        for name in names {
            git(&["add", name]);
        }
        let expected: HashSet<PathBuf> = names.iter().map(PathBuf::from).collect();
        for version in ["2", "3", "4"] {
            git(&["update-index", "--index-version", version]);
            assert_eq!(tracked(home.path()), expected, "version {version}");
        }
        git(&["update-index", "--skip-worktree", "a"]);
        assert_eq!(tracked(home.path()), expected);
    }

    #[test]
    fn what_is_no_index_tracks_nothing() {
        for bytes in [&b""[..], b"DIRC", b"DIRC\0\0\0\x02\0\0\0\x05", b"DIRC\0\0\0\x09\0\0\0\0", b"DIRC\0\0\0\x04\xff\xff\xff\xff"] {
            assert_eq!(parse(bytes), None);
        }
    }
}
