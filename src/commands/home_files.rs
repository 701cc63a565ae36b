//! The operator's files that an agent gets copies of: instructions, settings, skills. Each is read once, before anything starts, and one that
//! holds a credential is refused.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bottle_contract::Untrusted;
use bottle_scan::{Fingerprints, Scanner};

use crate::error::{Error, Result};
use crate::manifest::model::Agent;

/// Bytes of one file at most: an agent reads its instructions with each conversation.
const MAX_FILE_BYTES: u64 = 256 << 10;
/// Bytes of all of them at most, as they are part of the plan.
const MAX_BYTES: usize = 4 << 20;
/// Files at most.
const MAX_FILES: usize = 1024;
/// Directories within each other at most.
const MAX_DEPTH: usize = 8;

/// Files that hold credentials whatever is in them.
const CREDENTIALS: [&str; 10] = [
    ".netrc",
    "_netrc",
    ".git-credentials",
    ".pypirc",
    ".credentials.json",
    "auth.json",
    "oauth_creds.json",
    "credentials",
    "credentials.toml",
    "hosts.yml",
];

const HINT: &str = "remove the credential from the file, or leave the file out of `home`";

/// Reads what the agent's manifest names, by the path in the agent's home.
pub(super) fn read(agent: &Agent, home: Option<&Path>) -> Result<BTreeMap<PathBuf, String>> {
    let mut copies = Copies { files: BTreeMap::new(), bytes: 0, scanner: None };
    let provider = agent.program.provider();
    if let (true, Some(provider), Some(home)) = (agent.home.defaults, provider, home) {
        for path in provider.home.iter().filter(|path| home.join(path).exists()) {
            copies.take(path, &home.join(path), 0)?;
        }
    }
    for (path, source) in &agent.home.files {
        copies.take(path, source, 0)?;
    }
    for source in &agent.skills {
        let Some(directory) = provider.and_then(|provider| provider.skills.as_ref()) else {
            let cause = "its provider names no directory for them";
            return Err(Error::usage(format!("the program of `{}` takes no skills", agent.name), cause, "remove `skills`"));
        };
        let name = source.file_name().unwrap_or_default();
        copies.take(&directory.join(name), source, 0)?;
    }
    Ok(copies.files)
}

struct Copies {
    files: BTreeMap<PathBuf, String>,
    bytes: usize,
    scanner: Option<Scanner>,
}

impl Copies {
    fn take(&mut self, path: &Path, source: &Path, depth: usize) -> Result<()> {
        let shown = Untrusted::new(source.as_os_str().as_encoded_bytes()).to_string();
        let failed = |cause: String| {
            Error::usage(format!("{shown} cannot be copied for the agent"), cause, "name a text file or a directory of them")
        };
        let meta = fs::metadata(source).map_err(|error| failed(error.to_string()))?;
        if meta.is_dir() {
            return self.directory(path, source, depth).map_err(|error| failed(error.to_string()))?;
        }
        let text = text(source).map_err(|error| failed(error.to_string()))?;
        self.bytes += text.len();
        if self.bytes > MAX_BYTES || self.files.len() >= MAX_FILES {
            return Err(failed(format!("more than {MAX_FILES} files, or than {} MiB", MAX_BYTES >> 20)));
        }
        self.refuse_credential(source, &shown, &text)?;
        self.files.insert(path.to_owned(), text);
        Ok(())
    }

    /// A link in a directory is followed to a file, never to a directory: what that holds was not named.
    fn directory(&mut self, path: &Path, source: &Path, depth: usize) -> io::Result<Result<()>> {
        if depth >= MAX_DEPTH {
            return Err(io::Error::other(format!("directories more than {MAX_DEPTH} deep")));
        }
        let mut names: Vec<_> = fs::read_dir(source)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
        names.sort();
        for name in names.into_iter().filter(|name| name != ".git") {
            let entry = source.join(&name);
            let is_link_to_directory = fs::symlink_metadata(&entry)?.is_symlink() && entry.is_dir();
            if !is_link_to_directory && let Err(error) = self.take(&path.join(&name), &entry, depth + 1) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    fn refuse_credential(&mut self, source: &Path, shown: &str, text: &str) -> Result<()> {
        let refused = |cause: String| Error::usage(format!("{shown} holds a credential"), cause, HINT);
        if source.file_name().is_some_and(|name| CREDENTIALS.iter().any(|known| name == *known)) {
            return Err(refused("files of this name are for credentials".to_owned()));
        }
        if source.file_name().is_some_and(|name| name == ".npmrc") && ["_auth", "_password"].iter().any(|key| text.contains(key)) {
            return Err(refused("a line with `_auth…` or `_password`".to_owned()));
        }
        let scanner = match self.scanner.take() {
            Some(scanner) => scanner,
            None => Scanner::new(Fingerprints::of([0; 32], &[]))
                .map_err(|error| Error::failed("cannot search for credentials", error, "this is a bug in bottle: please report it"))?,
        };
        let found = scanner.scan_file(&source.to_string_lossy(), text.as_bytes());
        self.scanner = Some(scanner);
        match found {
            Some(finding) => Err(refused(format!("the rule `{}` fits at byte {}", finding.rule, finding.offset))),
            None => Ok(()),
        }
    }
}

fn text(path: &Path) -> io::Result<String> {
    // A pipe in its place must not make us wait.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES { Err(io::Error::other("larger than 256 KiB")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::model::Home;
    use crate::manifest::{Library, model::Origin, source::Kind, source::Source};

    fn agent(home: &Path, yaml: &str) -> Agent {
        let file = Origin::Home(home.join("a.md"));
        let text = format!("---\nbottle: offline\nprovider: claude\n{yaml}\n---\n");
        let source = Source { kind: Kind::Agent, name: "a".into(), origin: file, content: Ok(text.into_bytes()) };
        Library::new(Some(home), vec![source], vec![]).resolve("a").unwrap().agent
    }

    // covers: W26
    #[test]
    fn what_the_manifest_names_is_copied_and_a_credential_is_refused() {
        // Nothing below /tmp is copied. Where builds are isolated, there may be no /var/tmp.
        let here = std::env::current_dir().unwrap();
        let root = tempfile::tempdir_in("/var/tmp").or_else(|_| tempfile::tempdir_in(here)).unwrap();
        let home = root.path();
        let write = |name: &str, text: &str| {
            fs::create_dir_all(home.join(name).parent().unwrap()).unwrap();
            fs::write(home.join(name), text).unwrap();
        };
        write(".claude/CLAUDE.md", "be brief");
        write(".claude/.credentials.json", "{}");
        write("skill/SKILL.md", "how");
        write("skill/x/run.sh", "true");
        std::os::unix::fs::symlink(home, home.join("skill/all")).unwrap();
        let names = |yaml: &str| {
            read(&agent(home, yaml), Some(home)).map(|files| files.into_keys().map(|path| path.display().to_string()).collect::<Vec<_>>())
        };
        assert_eq!(agent(home, "").home, Home::default());
        assert_eq!(names(""), Ok(vec![]));
        assert_eq!(
            names("home: { defaults: true }\nskills: [~/skill]"),
            Ok(vec![".claude/CLAUDE.md".into(), ".claude/skills/skill/SKILL.md".into(), ".claude/skills/skill/x/run.sh".into()])
        );
        write("npmrc/.npmrc", "//registry.test/:_authToken=x");
        write("netrc/.netrc", "");
        write("key.txt", &format!("token = ghp_{}\n", "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY1zC7"));
        for (file, cause) in [
            ("~/.claude/.credentials.json", "files of this name are for credentials"),
            ("~/netrc/.netrc", "files of this name are for credentials"),
            ("~/npmrc/.npmrc", "a line with `_auth…` or `_password`"),
            ("~/key.txt", "the rule `github-pat` fits at byte 8"),
        ] {
            let error = names(&format!("home: {{ files: {{ x: {file} }} }}")).expect_err(file);
            assert_eq!((&*error.cause, error.hint.as_str()), (cause, HINT), "{file}");
        }
        assert_eq!(names("home: { files: { x: ~/nowhere } }").unwrap_err().cause, "No such file or directory (os error 2)");
    }
}
