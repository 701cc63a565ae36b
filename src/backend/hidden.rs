//! Which files of the operator's tree the agent is not shown: those that usually hold credentials, unless git tracks them. What is tracked is no
//! secret of this machine's, and a commit without it would delete it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{FileType, Mode, OFlags};

/// In the syntax of git-ignore: environment files, keys, and where known tools keep credentials.
const PATTERNS: [&str; 48] = [
    ".env",
    ".env.*",
    "!.env.example",
    "!.env.sample",
    "!.env.template",
    "!.env.dist",
    "!.env.defaults",
    ".envrc.local",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.ppk",
    "*.kdbx",
    "*.agekey",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_*_sk",
    ".netrc",
    "_netrc",
    ".pypirc",
    ".git-credentials",
    ".npmrc",
    ".yarnrc.local",
    ".dockercfg",
    ".docker/config.json",
    ".aws/credentials",
    ".azure/",
    ".config/gcloud/",
    ".config/gh/",
    ".kube/config",
    "kubeconfig",
    "*.kubeconfig",
    "application_default_credentials.json",
    "credentials.json",
    "client_secret*.json",
    "service-account*.json",
    "service_account*.json",
    "terraform.tfvars",
    "*.auto.tfvars",
    "*.tfstate",
    "*.tfstate.backup",
    ".vault-token",
    "secrets.yml",
];

/// More are an error of the list, or an attack on the start.
const MAX_HIDDEN: usize = 10_000;

/// The untracked files and directories of a tree that match, relative to its top. What cannot be read is not seen by the agent either.
pub(super) fn find(top: &Path) -> Vec<PathBuf> {
    let patterns = patterns();
    let mut found = Vec::new();
    let mut ahead = vec![PathBuf::new()];
    while let Some(directory) = ahead.pop() {
        for (name, is_directory) in list(&top.join(&directory)) {
            let path = directory.join(&name);
            if patterns.matched(&path, is_directory).is_ignore() {
                found.push(path);
            } else if is_directory && name != ".git" {
                ahead.push(path);
            }
        }
    }
    if found.is_empty() {
        return found;
    }
    let tracked = crate::workspace::tracked(top);
    found.retain(|path| !tracked.contains(path) && !tracked.iter().any(|other| other.starts_with(path)));
    found.sort();
    found.truncate(MAX_HIDDEN);
    found
}

fn patterns() -> Gitignore {
    let mut builder = GitignoreBuilder::new("");
    // A pattern of ours that is none would be found by the test below.
    PATTERNS.iter().for_each(|pattern| drop(builder.add_line(None, pattern)));
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

/// Names, and whether each is a directory: as the directory itself tells, for a look at each file would take ten times as long.
fn list(directory: &Path) -> Vec<(OsString, bool)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(fd) = rustix::fs::open(directory, flags, Mode::empty()) else { return Vec::new() };
    let Ok(entries) = rustix::fs::Dir::read_from(&fd) else { return Vec::new() };
    let mut names = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let name = OsStr::from_bytes(name).to_owned();
        let is_directory = match entry.file_type() {
            FileType::Unknown => directory.join(&name).symlink_metadata().is_ok_and(|meta| meta.is_dir()),
            kind => kind == FileType::Directory,
        };
        names.push((name, is_directory));
    }
    names
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    // covers: W02
    #[test]
    fn untracked_credentials_are_hidden_and_tracked_files_are_not() {
        let home = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            let ended = command.args(arguments).current_dir(home.path()).env("HOME", home.path()).output().unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        };
        for name in ["test/fixture.pem", ".npmrc", ".env", ".env.example", "src/.env.local", "deploy/key.pem", ".azure/token", "src/key.rs"]
        {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        git(&["init", "-q"]);
        git(&["add", "test/fixture.pem", ".npmrc"]);
        let expected = [".azure", ".env", "deploy/key.pem", "src/.env.local"];
        assert_eq!(find(home.path()), expected.map(PathBuf::from));
    }

    #[test]
    fn each_pattern_is_one() {
        let mut builder = GitignoreBuilder::new("");
        for pattern in PATTERNS {
            builder.add_line(None, pattern).unwrap();
        }
        assert_eq!(builder.build().unwrap().len(), PATTERNS.len());
    }
}
