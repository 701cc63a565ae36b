//! Manifests as files: links, pipes, sizes and encodings that a reader must survive.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use bottle::manifest::load::{MAX_MANIFEST_BYTES, MAX_MANIFESTS};
use bottle::manifest::model::Origin;
use bottle::manifest::{Kind, Library, load};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

const AGENT: &str = "---\nbottle: offline\nprovider: shell\n---\n";

struct Places {
    root: TempDir,
}

impl Places {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["cfg/agents", "cfg/bottles", "repo/.bottle/agents"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        Self { root }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.root.path().join(path)
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(path), content).unwrap();
        self
    }

    fn load(&self) -> Result<Library, String> {
        load(&self.path("cfg"), None, Some(&self.path("repo"))).map_err(|error| self.relative(&error.to_string()))
    }

    /// The error's three lines, without the temporary directory.
    fn relative(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.root.path().display()), "")
    }

    fn resolve_error(&self, agent: &str) -> String {
        self.relative(&self.load().unwrap().resolve(agent).unwrap_err().to_string())
    }
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[test]
fn files_of_the_home_and_of_the_repository_are_found() {
    let places = Places::new();
    places
        .file("cfg/agents/own.md", AGENT)
        .file("cfg/bottles/mine.md", "---\n---\n")
        .file("repo/.bottle/agents/theirs.md", AGENT)
        .file("cfg/agents/notes.txt", "no manifest")
        .file("cfg/agents/.own.md.swp", "an editor's")
        .file("cfg/agents/.hidden.md", "hidden");
    let library = places.load().unwrap();
    assert_eq!(
        library.names(Kind::Agent).collect::<Vec<_>>(),
        ["aider", "claude", "codex", "copilot", "gemini", "implementer", "opencode", "own", "reviewer", "shell", "theirs"]
    );
    assert_eq!(library.names(Kind::Bottle).collect::<Vec<_>>(), ["dev", "mine", "offline"]);
    assert_eq!(library.resolve("own").unwrap().agent.origin, Origin::Home(places.path("cfg/agents/own.md")));
    assert_eq!(library.resolve("theirs").unwrap().agent.origin, Origin::Repo(places.path("repo/.bottle/agents/theirs.md")));
    assert_eq!(library.problems(), vec![]);
}

#[test]
fn nothing_at_all_is_the_starter_library() {
    let empty = tempfile::tempdir().unwrap();
    let none = load(&empty.path().join("no/such"), None, Some(empty.path())).unwrap();
    assert_eq!(none, Library::new(None, vec![], vec![]));
}

#[test]
fn what_is_no_plain_file_in_a_repository_is_an_error_when_it_is_used() {
    let places = Places::new();
    let agents = places.path("repo/.bottle/agents");
    places.file("secret.md", AGENT).file("repo/.bottle/agents/good.md", AGENT);
    symlink(places.path("secret.md"), agents.join("link.md")).unwrap();
    symlink("good.md", agents.join("near.md")).unwrap();
    symlink("/dev/zero", agents.join("zero.md")).unwrap();
    fifo(&agents.join("pipe.md"));
    fs::create_dir(agents.join("tree.md")).unwrap();
    let hint = "a manifest is a regular file that you can read, of at most 256 KiB";
    let link = "a symbolic link, which a repository may not use here";
    for (name, why) in [("link", link), ("near", link), ("zero", link), ("pipe", "not a regular file"), ("tree", "not a regular file")] {
        let expected = format!("error: agent `{name}` cannot be used\ncause: repo/.bottle/agents/{name}.md: {why}\nhint:  {hint}");
        assert_eq!(places.resolve_error(name), expected);
    }
    let library = places.load().unwrap();
    assert!(library.resolve("good").is_ok());
    assert_eq!(library.problems().len(), 5);
}

#[test]
fn the_operator_may_link_a_file_but_not_a_device() {
    let places = Places::new();
    places.file("dotfile", AGENT);
    symlink(places.path("dotfile"), places.path("cfg/agents/linked.md")).unwrap();
    symlink("/dev/zero", places.path("cfg/agents/zero.md")).unwrap();
    symlink("gone", places.path("cfg/agents/broken.md")).unwrap();
    symlink("loop.md", places.path("cfg/agents/loop.md")).unwrap();
    fifo(&places.path("cfg/agents/pipe.md"));
    assert!(places.load().unwrap().resolve("linked").is_ok());
    for (name, why) in [
        ("zero", "not a regular file"),
        ("pipe", "not a regular file"),
        ("broken", "No such file or directory (os error 2)"),
        ("loop", "Too many levels of symbolic links (os error 40)"),
    ] {
        let error = places.resolve_error(name);
        assert!(error.contains(&format!("cause: cfg/agents/{name}.md: {why}\n")), "{error}");
    }
}

#[test]
fn a_repository_that_defines_bottles_or_providers_is_refused_whatever_stands_there() {
    for make in [
        |path: &Path| fs::create_dir(path).unwrap(),
        |path: &Path| fs::write(path, "").unwrap(),
        |path: &Path| symlink("/nowhere", path).unwrap(),
        fifo,
    ] {
        for kind in ["bottles", "providers"] {
            let places = Places::new();
            make(&places.path(&format!("repo/.bottle/{kind}")));
            assert_eq!(
                places.load().unwrap_err(),
                format!(
                    "error: this repository tries to define {kind}\n\
                     cause: repo/.bottle/{kind} exists; {kind} are only read from the home configuration\n\
                     hint:  remove it, or move what you want of it to your own configuration"
                )
            );
        }
    }
}

#[test]
fn a_directory_behind_a_link_in_a_repository_is_refused() {
    for link in ["repo/.bottle", "repo/.bottle/agents"] {
        let places = Places::new();
        places.file("cfg/agents/own.md", AGENT);
        fs::remove_dir_all(places.path(link)).unwrap();
        symlink(places.path("cfg"), places.path(link)).unwrap();
        let error = places.load().unwrap_err();
        assert_eq!(
            error,
            format!(
                "error: cannot read {link}\ncause: not a directory (a symbolic link is not followed in a repository)\n\
                 hint:  make it a directory that you can read, or remove it"
            )
        );
    }
}

// covers: F19
#[test]
fn a_manifest_of_a_gigabyte_costs_a_quarter_of_a_megabyte() {
    let places = Places::new();
    let huge = fs::File::create(places.path("cfg/bottles/huge.md")).unwrap();
    huge.set_len(1 << 30).unwrap();
    let full = format!("---\n---\n{}", "x".repeat(MAX_MANIFEST_BYTES as usize - 8));
    places.file("cfg/bottles/full.md", &full).file("cfg/bottles/over.md", full + "x");
    for name in ["full", "huge", "over"] {
        places.file(&format!("cfg/agents/{name}.md"), AGENT.replace("offline", name));
    }
    assert!(places.load().unwrap().resolve("full").is_ok());
    for name in ["huge", "over"] {
        assert_eq!(
            places.resolve_error(name),
            format!(
                "error: bottle `{name}` cannot be used\ncause: cfg/bottles/{name}.md: larger than 256 KiB\n\
                 hint:  a manifest is a regular file that you can read, of at most 256 KiB"
            )
        );
    }
}

#[test]
fn what_no_program_can_be_given_is_refused_before_the_start() {
    let long = "x".repeat(120 * 1024 + 1);
    let places = Places::new();
    let hint = "an argument or variable has at most 120 KiB; put the rest in a file";
    for (name, text, cause) in [
        ("prompt", format!("{AGENT}{long}"), "1:1: the prompt is too long"),
        ("argument", AGENT.replace("provider: shell", &format!("command: [x, {long}]")), "3:14: an argument is too long"),
    ] {
        places.file(&format!("cfg/agents/{name}.md"), text);
        let expected = format!("error: agent `{name}` cannot be used\ncause: cfg/agents/{name}.md:{cause}\nhint:  {hint}");
        assert_eq!(places.resolve_error(name), expected);
    }
    places.file("cfg/bottles/b.md", format!("---\nenv: {{ A: {long} }}\n---\n")).file("cfg/agents/value.md", AGENT.replace("offline", "b"));
    let expected = format!("error: bottle `b` cannot be used\ncause: cfg/bottles/b.md:2:11: the value of `A` is too long\nhint:  {hint}");
    assert_eq!(places.resolve_error("value"), expected);
}

// covers: F19
#[test]
fn bytes_that_are_no_text_are_an_error_with_their_place() {
    let places = Places::new();
    for (name, content, cause) in [
        ("nul", &b"---\nbottle: \0\n---\n"[..], "2:9: a control character (U+0000)"),
        ("latin", b"---\nbottle: caf\xe9\n---\n", "2:12: not UTF-8"),
        ("utf-sixteen", b"\xff\xfe-\0-\0-\0", "1:1: not UTF-8"),
        ("escape", b"---\nbottle: offline\nprovider: shell\n---\nHello\x1b[2J\n", "5:6: a control character (U+001B)"),
        ("empty", b"", "1:1: no front matter"),
    ] {
        places.file(&format!("cfg/agents/{name}.md"), content);
        assert!(places.resolve_error(name).contains(&format!("cause: cfg/agents/{name}.md:{cause}\n")), "{}", places.resolve_error(name));
    }
    places.file("cfg/agents/dos.md", format!("\u{feff}{}", AGENT.replace('\n', "\r\n")));
    assert!(places.load().unwrap().resolve("dos").is_ok());
}

// covers: X04
#[test]
fn a_file_whose_name_is_no_key_is_told_of_and_not_used() {
    let places = Places::new();
    let agents = places.path("repo/.bottle/agents");
    for name in [
        &b"Dev.md"[..],
        b"-rf.md",
        b"a b.md",
        b"\x1b[2J.md",
        b"\xff.md",
        b"..md",
        b"$(id).md",
        &[b"a".repeat(50), b".md".to_vec()].concat(),
    ] {
        fs::write(agents.join(std::ffi::OsStr::from_bytes(name)), AGENT).unwrap();
    }
    let library = places.load().unwrap();
    assert_eq!(
        library.names(Kind::Agent).collect::<Vec<_>>(),
        ["aider", "claude", "codex", "copilot", "gemini", "implementer", "opencode", "reviewer", "shell"]
    );
    let problems: Vec<String> = library.problems().iter().map(|p| places.relative(&p.to_string())).collect();
    assert_eq!(problems.len(), 7, "{problems:#?}");
    assert!(problems.iter().all(|text| text.lines().count() == 3 && !text.contains('\u{1b}')), "{problems:#?}");
    assert_eq!(
        problems[0],
        "error: agent `\\u{1b}[2J` cannot be used\n\
         cause: repo/.bottle/agents/\\u{1b}[2J.md: a name is a lower-case letter, then up to 40 lower-case letters, digits or hyphens\n\
         hint:  rename the file"
    );
}

#[test]
fn a_directory_with_more_files_than_anyone_writes_is_refused() {
    let places = Places::new();
    for number in 0..=MAX_MANIFESTS {
        places.file(&format!("repo/.bottle/agents/a{number}.md"), "");
    }
    assert_eq!(
        places.load().unwrap_err(),
        format!(
            "error: cannot read repo/.bottle/agents\ncause: more than {MAX_MANIFESTS} files in it\nhint:  remove files that are not manifests"
        )
    );
}

#[test]
fn a_directory_that_cannot_be_read_is_never_taken_for_an_empty_one() {
    let places = Places::new();
    fs::remove_dir(places.path("cfg/bottles")).unwrap();
    places.file("cfg/bottles", "");
    assert!(places.load().unwrap_err().starts_with("error: cannot read cfg/bottles\n"));
    fs::remove_file(places.path("cfg/bottles")).unwrap();
    symlink("bottles", places.path("cfg/bottles")).unwrap();
    assert!(places.load().unwrap_err().starts_with("error: cannot read cfg/bottles\n"));
}

#[test]
fn what_changes_after_the_reading_changes_nothing() {
    let places = Places::new();
    places.file("repo/.bottle/agents/x.md", AGENT);
    let library = places.load().unwrap();
    let before = library.resolve("x").unwrap();
    places.file("repo/.bottle/agents/x.md", AGENT.replace("offline", "dev"));
    assert_eq!(library.resolve("x").unwrap(), before);
}
