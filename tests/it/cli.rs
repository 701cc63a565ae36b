//! The built program at its edges: what it prints, and who reads that.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_bottle");

/// An operator with a home, and nothing in it.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A bottle's state directory, by the bytes of its name.
    fn state(&self, name: &[u8]) {
        let directory = self.path("state").join(std::ffi::OsString::from_vec(name.to_vec()));
        fs::create_dir_all(&directory).unwrap();
        for path in [self.path("state"), directory] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        }
    }

    fn run(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env_clear().env("BOTTLE_HOME", self.0.path()).env("HOME", self.0.path()).current_dir(self.0.path());
        command.stdin(Stdio::null());
        command
    }

    /// What a shell is offered for the last of these words.
    fn completed(&self, words: &[&str]) -> Vec<String> {
        let mut command = assert_cmd::Command::from_std(self.run(&["--", "bottle"]));
        command.args(words).env("BOTTLE_COMPLETE", "bash").env("_CLAP_IFS", "\n").env("_CLAP_COMPLETE_INDEX", words.len().to_string());
        let said = command.assert().success().stderr("").get_output().stdout.clone();
        let said = String::from_utf8(said).unwrap();
        said.lines().map(str::to_owned).collect()
    }
}

// covers: W31
// covers: W32
#[test]
fn help_schemas_and_completions_are_as_in_their_snapshots() {
    trycmd::TestCases::new().register_bin("bottle", Path::new(PROGRAM)).case("tests/cases/cli/*.trycmd");
}

#[test]
fn every_command_has_a_snapshot_of_its_help() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/cli");
    let texts: Vec<String> = fs::read_dir(files).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    for command in bottle::cli::definition().get_subcommands() {
        let line = format!("$ bottle {} --help\n", command.get_name());
        assert!(texts.iter().any(|text| text.contains(&line)), "{line}");
    }
}

#[test]
fn a_bottle_that_reaches_beyond_a_boundary_is_said_in_words_and_by_the_exit_code() {
    let home = Home::new();
    let manifest = |name: &str, routes: &str| fs::write(home.path(name), format!("---\negress:\n  routes:\n{routes}---\n")).unwrap();
    manifest("wide.md", "    - { host: \"*.a.test\" }\n    - { host: b.test, matches: [{ methods: [GET] }] }\n");
    manifest(
        "narrow.md",
        "    - { host: x.a.test, matches: [{ paths: [/v1/] }] }\n    - { host: b.test, matches: [{ methods: [GET, POST] }] }\n",
    );
    let said = |arguments: &[&str]| {
        let output = home.run(&[&["policy", "diff"], arguments].concat()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    let post = "b.test: POST of every path; no credential is sent\n";
    assert_eq!(said(&["wide.md", "narrow.md"]), (Some(0), post.to_owned()));
    assert_eq!(said(&["--boundary", "wide.md", "narrow.md"]), (Some(1), post.to_owned()));
    assert_eq!(said(&["--boundary", "wide.md", "./wide.md"]), (Some(0), "nothing more is reached\n".to_owned()));
    let wider =
        "x.a.test: every method of every path; no credential is sent\n*.a.test: every method of every path; no credential is sent\n";
    assert_eq!(said(&["narrow.md", "wide.md"]), (Some(0), wider.to_owned()));
    let (code, text) = said(&["wide.md", "narrow.md", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let ask = serde_json::json!({ "methods": [{ "named": "POST" }], "paths": ["all"] });
    let request = serde_json::json!({ "host": "b.test", "ports": [80, 443], "asks": [ask], "credential": null });
    assert_eq!((code, json), (Some(0), serde_json::json!([{ "requests": request }])));
    assert_eq!(said(&["wide.md"]).0, Some(2));
    assert_eq!(said(&["--boundary", "wide.md", "nobody"]).0, Some(2));
    assert_eq!(said(&["offline", "dev"]).0, Some(0));
}

// covers: W31
#[test]
fn a_reader_that_has_seen_enough_ends_every_command_quietly() {
    let home = Home::new();
    fs::create_dir(home.path("man")).unwrap();
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["help"],
        &["help", "manifest"],
        &["start", "--help"],
        &["start", "shell", "--dry-run"],
        &["list"],
        &["ls", "--json"],
        &["cleanup"],
        &["doctor"],
        &["doctor", "--json"],
        &["info"],
        &["info", "shell"],
        &["init"],
        &["images", "list"],
        &["check", "https://a.test/"],
        &["schema", "bottle"],
        &["completions", "zsh"],
        &["man", "man"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = home.run(arguments).stdout(writer).output().unwrap();
        assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr)), (Some(141), "".into()), "{arguments:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    for arguments in [&["schema", "bottle"][..], &["help", "git"], &["list"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = Home::new().run(arguments).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(
            (ended.status.code(), said.lines().next()),
            (Some(125), Some("error: cannot write the output")),
            "{arguments:?}: {said}"
        );
    }
}

// covers: W40
#[test]
fn a_shell_is_offered_agents_bottles_images_components_and_topics() {
    let home = Home::new();
    home.state(b"web");
    home.state(b"web-2");
    fs::create_dir_all(home.path("config/agents")).unwrap();
    fs::write(home.path("config/agents/fixer.md"), "---\nbottle: dev\nprovider: shell\n---\n").unwrap();
    for words in
        [&["stop", "w"][..], &["logs", "w"], &["diff", "w"], &["apply", "w"], &["audit", "verify", "w"], &["explain", "x", "--bottle", "w"]]
    {
        assert_eq!(home.completed(words), ["web", "web-2"], "{words:?}");
    }
    for words in [&["start", "fi"][..], &["info", "fi"], &["check", "https://a.test/", "--agent", "fi"]] {
        assert_eq!(home.completed(words), ["fixer"], "{words:?}");
    }
    assert_eq!(home.completed(&["logs", "web", "e"]), ["egress"]);
    assert_eq!(home.completed(&["images", "verify", "pipe"]), ["pipelock"]);
    assert_eq!(home.completed(&["help", "manif"]), ["manifest"]);
    assert_eq!(home.completed(&["st"]), ["start", "stop"]);
}

// covers: W40
#[test]
fn names_that_a_terminal_would_obey_are_never_offered_and_nothing_is_run_or_changed() {
    let home = Home::new();
    for name in [&b"ok"[..], b"\x1b]0;owned\x07", b"two\nlines", b"-rf", b"$(id)", b"\xff"] {
        home.state(name);
    }
    fs::create_dir_all(home.path(".bottle/agents")).unwrap();
    for name in ["fine", "\x1b[31mred", "a\nb", "$(touch ran)", "-x"] {
        fs::write(home.path(&format!(".bottle/agents/{name}.md")), "---\nbottle: offline\nprovider: shell\n---\n").unwrap();
    }
    let before = tree(home.0.path());
    assert_eq!(home.completed(&["stop", ""]).into_iter().filter(|word| !word.starts_with('-')).collect::<Vec<_>>(), ["ok"]);
    let agents = home.completed(&["start", ""]);
    assert!(agents.contains(&"fine".to_owned()), "{agents:?}");
    assert!(
        agents.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')),
        "{agents:?}"
    );
    assert_eq!(tree(home.0.path()), before);
}

/// The names of all files.
fn tree(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead = vec![root.to_owned()];
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                ahead.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

// covers: W32
#[test]
fn a_pipe_and_an_operator_who_objects_get_no_colour() {
    for variables in [&[][..], &[("NO_COLOR", "1")], &[("TERM", "xterm-256color")]] {
        let ended = Home::new().run(&["help", "git"]).envs(variables.iter().copied()).output().unwrap();
        assert!(ended.status.success() && !ended.stdout.contains(&0x1b), "{variables:?}");
    }
}

// covers: W32
#[test]
fn help_is_at_most_as_wide_as_the_terminal_and_wrapped_at_words() {
    for arguments in [&["help", "manifest"][..], &["help", "cookbook"], &["help", "environment"]] {
        let said = Home::new().run(arguments).output().unwrap();
        let text = String::from_utf8(said.stdout).unwrap();
        // What is indented by four is code, and stays as it is.
        let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80 && !line.starts_with("    ")).collect();
        assert_eq!(long, Vec::<&str>::new(), "{arguments:?}");
    }
}
