//! Runs `bottle` in directories of its own, compares all that it said, and after every run asks for residue and secrets.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::canary::{Canary, Sighting, Sweep};
use crate::process::snapshot;
use crate::pty::Pty;
use crate::residue::{Residue, Scope};
use crate::run::{AtTerminal, Collector, Ended, OnPipes, end_collected};
use crate::warden::Warden;

/// Longer than any run of a test takes on a busy machine; a run that takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a clean run may keep, below the state directory.
const EXPECTED_FILES: [&str; 11] = [
    "bottle/.lock",
    // Of the compose backend.
    "bottle/*/compose.log",
    "bottle/*/docker-compose.yml",
    "bottle/*/lock",
    "bottle/*/logs/*",
    "bottle/*/metadata.json",
    "bottle/*/plan.json",
    "bottle/*/timeline.jsonl",
    "bottle/*/asks.jsonl",
    // What `bottle undo` reads.
    "bottle/*/undo/*",
    // What `bottle diff` and `bottle apply` read.
    "bottle/*/workspace/*",
];

/// The program and its world: a home, configuration, state, runtime and temporary directories, and an environment of its own.
#[derive(Debug)]
pub struct Bottle {
    program: PathBuf,
    home: TempDir,
    /// On tmpfs, as `$XDG_RUNTIME_DIR` is.
    runtime: TempDir,
    environment: BTreeMap<OsString, OsString>,
    user: Option<u32>,
    directory: PathBuf,
    canaries: Vec<Canary>,
    kept: Vec<String>,
    replaced: Vec<(String, String)>,
    pub(crate) patience: Duration,
}

impl Bottle {
    /// `program` is usually `env!("CARGO_BIN_EXE_bottle")`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let directory = |prefix: &str, length: usize, parent: &Path| {
            let directory = tempfile::Builder::new().prefix(prefix).rand_bytes(length).tempdir_in(parent);
            directory.expect("a directory for the test")
        };
        // A runtime directory is short, or bottle takes another: the path of a socket in it has 107 bytes (unix(7)).
        let (home, runtime) = (directory("bottle-test-", 12, &std::env::temp_dir()), directory("bt-", 10, Path::new("/dev/shm")));
        for name in ["home", "config", "state", "cache", "tmp", "work"] {
            fs::create_dir(home.path().join(name)).expect("a directory for the test");
        }
        let mut bottle = Self {
            program: program.into(),
            directory: home.path().join("work"),
            home,
            runtime,
            environment: BTreeMap::new(),
            user: None,
            canaries: Vec::new(),
            kept: EXPECTED_FILES.map(str::to_owned).to_vec(),
            replaced: Vec::new(),
            patience: TIMEOUT,
        };
        for (variable, name) in
            [("HOME", "home"), ("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state"), ("XDG_CACHE_HOME", "cache"), ("TMPDIR", "tmp")]
        {
            let path = bottle.home.path().join(name);
            bottle = bottle.env(variable, path);
        }
        let (marker, runtime) = (bottle.home.path().to_path_buf(), bottle.runtime.path().to_path_buf());
        let path = std::env::var_os("PATH").unwrap_or_default();
        // This is the mark by which a process that escaped its parent is still known to be this run's.
        bottle.env("BOTTLE_TEST_RUN", marker).env("XDG_RUNTIME_DIR", runtime).env("PATH", path).env("LC_ALL", "C.UTF-8").env("TZ", "UTC")
    }

    /// Writes `bottles/NAME.md`.
    pub fn bottle(self, name: &str, yaml: &str) -> Self {
        self.manifest("bottles", name, yaml, "")
    }

    /// Writes `agents/NAME.md`; `body` is its prompt.
    pub fn agent(self, name: &str, yaml: &str, body: &str) -> Self {
        self.manifest("agents", name, yaml, body)
    }

    fn manifest(self, kind: &str, name: &str, yaml: &str, body: &str) -> Self {
        let directory = self.home.path().join("config/bottle").join(kind);
        fs::create_dir_all(&directory).expect("the configuration directory");
        fs::write(directory.join(format!("{name}.md")), format!("---\n{}\n---\n{body}", yaml.trim_end())).expect("the manifest");
        self
    }

    /// Sets a variable. Nothing else of the test's own environment is passed on but `PATH`.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Sets a variable to a secret, which is then searched for after every run.
    pub fn secret(mut self, name: &str, canary: &Canary) -> Self {
        self.canaries.push(canary.clone());
        self.env(name, canary.value())
    }

    /// Runs as this user and group, with no other groups. Takes effect if the test runs as root; otherwise it is the test's
    /// own user already, who is ordinary too.
    pub fn as_user(mut self, id: u32) -> Self {
        self.user = nix::unistd::geteuid().is_root().then_some(id);
        self
    }

    /// Who runs it, if that is somebody else than the test.
    pub fn user(&self) -> Option<u32> {
        self.user
    }

    /// Runs in this directory instead of an empty one.
    pub fn in_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// Lets this stay in the state directory: see [`Scope::kept`].
    pub fn keeps(mut self, pattern: &str) -> Self {
        self.kept.push(pattern.to_owned());
        self
    }

    /// Shows `text` as `name` in what is compared.
    pub fn replacing(mut self, text: &str, name: &str) -> Self {
        self.replaced.push((text.to_owned(), name.to_owned()));
        self
    }

    /// How long a run may take.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Its directories; `home`, `config`, `state`, `cache`, `tmp` and `work` are in it.
    pub fn path(&self) -> &Path {
        self.home.path()
    }

    /// Its `$XDG_RUNTIME_DIR`.
    pub fn runtime(&self) -> &Path {
        self.runtime.path()
    }

    /// A run to its end, on pipes and without a terminal. Panics if it hangs, leaves anything behind, or spills a secret.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ended {
        let mut residue = self.residue(None);
        let warden = Warden::collect(self.command(arguments, false)).expect("bottle starts");
        residue.below(&warden);
        end_collected(self, warden, &residue)
    }

    /// A run on pipes. End it with [`OnPipes::end`].
    pub fn start<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> OnPipes<'_> {
        self.start_with(arguments, Stdio::null())
    }

    /// The same, with a standard input.
    pub fn start_with<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>, stdin: Stdio) -> OnPipes<'_> {
        let (stdout, to_stdout) = std::io::pipe().expect("a pipe");
        self.on_pipes(arguments, stdin, to_stdout.into(), Collector::of(stdout))
    }

    /// The same, with a standard output that is the caller's to read, or to leave alone.
    pub fn start_into<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>, stdout: Stdio) -> OnPipes<'_> {
        self.on_pipes(arguments, Stdio::null(), stdout, Collector::of(std::io::empty()))
    }

    fn on_pipes<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        stdin: Stdio,
        to_stdout: Stdio,
        stdout: Collector,
    ) -> OnPipes<'_> {
        let mut residue = self.residue(None);
        let mut command = self.command(arguments, false);
        let (stderr, to_stderr) = std::io::pipe().expect("a pipe");
        command.stdin(stdin).stdout(to_stdout).stderr(to_stderr);
        let warden = Warden::watch(&mut command).expect("bottle starts");
        // It holds the pipes' other ends, and a reader waits for the last of them.
        drop(command);
        residue.below(&warden);
        OnPipes { bottle: self, warden, residue, stdout, stderr: Collector::of(stderr) }
    }

    /// A run at an operator's terminal. End it with [`AtTerminal::end`].
    pub fn at_terminal<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>, columns: u16, rows: u16) -> AtTerminal<'_> {
        self.at(Pty::open(columns, rows).expect("a terminal"), true, arguments)
    }

    /// The same at this terminal, which need not be the one that controls the run's session.
    pub fn at<A: AsRef<OsStr>>(&self, mut pty: Pty, controls: bool, arguments: impl IntoIterator<Item = A>) -> AtTerminal<'_> {
        let mut residue = self.residue(Some(pty.terminal().expect("a terminal")));
        let mut command = self.command(arguments, controls);
        command.env("TERM", "xterm-256color");
        pty.attach(&mut command).expect("the terminal is free");
        let warden = Warden::watch(&mut command).expect("bottle starts");
        drop(command);
        pty.leave();
        residue.below(&warden);
        AtTerminal { bottle: self, pty, warden, residue }
    }

    /// A program as this run's user and in its environment, beside a run that goes on: nothing is asked after it.
    pub fn beside<A: AsRef<OsStr>>(&self, program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(&self.environment).current_dir(&self.directory).stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>, terminal: bool) -> Command {
        if let Some(user) = self.user {
            give(self.home.path(), user);
            give(self.runtime.path(), user);
        }
        let mut command = Warden::command(self.program.as_os_str(), arguments, terminal);
        command.env_clear().envs(&self.environment).current_dir(&self.directory);
        if let Some(user) = self.user {
            // The standard library also drops the supplementary groups when root sets a user.
            command.uid(user).gid(user);
        }
        command
    }

    fn residue(&self, terminal: Option<std::os::fd::OwnedFd>) -> Residue {
        let marker = self.home.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let directories = vec![self.home.path().join("state"), self.home.path().join("tmp"), self.runtime.path().to_path_buf()];
        Residue::before(Scope { marker, directories, kept: self.kept.clone(), terminal })
    }

    /// Where secrets are, apart from the processes that were given them.
    pub(crate) fn spilled(&self, allowed: &[i32]) -> Vec<Sighting> {
        let search = Sweep::new(&self.canaries);
        let this = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
        // What this process started was given them by this process: wardens, also of other runs.
        let started: Vec<i32> = snapshot("").iter().filter(|process| process.parent == this).map(|process| process.pid).collect();
        let directories = [self.home.path(), self.runtime.path()];
        let found = directories.iter().flat_map(|directory| search.directory(directory));
        found.chain(search.processes(&[allowed, &[this], &started].concat())).collect()
    }

    pub(crate) fn spilled_in(&self, said: &[(&str, &[u8])]) -> Vec<Sighting> {
        let search = Sweep::new(&self.canaries);
        said.iter().flat_map(|(place, bytes)| search.text(place, bytes)).collect()
    }

    /// Replaces what differs from run to run: the directories, and the ids of bottles, which are the names in the state directory.
    pub(crate) fn normal(&self, said: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(said).into_owned();
        for (from, to) in &self.replaced {
            text = text.replace(from, to);
        }
        text = text.replace(&*self.home.path().to_string_lossy(), "[HOME]").replace(&*self.runtime.path().to_string_lossy(), "[RUNTIME]");
        let ids = fs::read_dir(self.home.path().join("state/bottle"))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut ids: Vec<String> = ids.collect();
        // A longer id may begin with a shorter one.
        ids.sort_by_key(|id| std::cmp::Reverse(id.len()));
        ids.iter().fold(text, |text, id| text.replace(id, "[ID]"))
    }
}

/// Gives a tree of the test's own to a user, and to nobody else. What is so already is left alone: a run compares times.
fn give(path: &Path, user: u32) {
    // A bottle that runs meanwhile may remove what was just listed.
    let Ok(meta) = fs::symlink_metadata(path) else { return };
    let given = (meta.uid(), meta.gid()) == (user, user);
    if !given {
        match lchown(path, Some(user), Some(user)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            result => result.expect("root may give"),
        }
    }
    if meta.is_dir() {
        if !given {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("root may change modes");
        }
        for entry in fs::read_dir(path).into_iter().flatten().filter_map(Result::ok) {
            give(&entry.path(), user);
        }
    }
}
