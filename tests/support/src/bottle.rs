//! Runs `bottle` in directories of its own, compares all that it said, and after every run asks for residue and secrets.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

use crate::canary::{Canary, Sighting, Sweep};
use crate::process::snapshot;
use crate::pty::Pty;
use crate::residue::{Leftover, Residue, Scope};
use crate::warden::{Ending, Warden};

/// Longer than any run of a test takes on a busy machine; a run that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a clean run may keep, below the state directory.
const KEPT: [&str; 9] = [
    "bottle/.lock",
    // Of the compose backend.
    "bottle/*/compose.log",
    "bottle/*/docker-compose.yml",
    "bottle/*/lock",
    "bottle/*/logs/*",
    "bottle/*/metadata.json",
    "bottle/*/plan.json",
    "bottle/*/timeline.jsonl",
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
    patience: Duration,
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
            kept: KEPT.map(str::to_owned).to_vec(),
            replaced: Vec::new(),
            patience: PATIENCE,
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
        self.start(arguments).end()
    }

    /// A run on pipes. End it with [`OnPipes::end`].
    pub fn start<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> OnPipes<'_> {
        self.start_with(arguments, Stdio::null())
    }

    /// The same, with a standard input.
    pub fn start_with<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>, stdin: Stdio) -> OnPipes<'_> {
        let mut residue = self.residue(None);
        let mut command = self.command(arguments, false);
        let [(stdout, to_stdout), (stderr, to_stderr)] = [(); 2].map(|()| std::io::pipe().expect("a pipe"));
        command.stdin(stdin).stdout(to_stdout).stderr(to_stderr);
        let warden = Warden::watch(&mut command).expect("bottle starts");
        // It holds the pipes' other ends, and a reader waits for the last of them.
        drop(command);
        residue.below(&warden);
        OnPipes { bottle: self, warden, residue, stdout: Collector::of(stdout), stderr: Collector::of(stderr) }
    }

    /// A run at an operator's terminal. End it with [`AtTerminal::end`].
    pub fn at_terminal<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>, columns: u16, rows: u16) -> AtTerminal<'_> {
        let mut pty = Pty::open(columns, rows).expect("a terminal");
        let mut residue = self.residue(Some(pty.terminal().expect("a terminal")));
        let mut command = self.command(arguments, true);
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
    fn spilled(&self, allowed: &[i32]) -> Vec<Sighting> {
        let search = Sweep::new(&self.canaries);
        let this = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
        // What this process started was given them by this process: wardens, also of other runs.
        let started: Vec<i32> = snapshot("").iter().filter(|process| process.parent == this).map(|process| process.pid).collect();
        let directories = [self.home.path(), self.runtime.path()];
        let found = directories.iter().flat_map(|directory| search.directory(directory));
        found.chain(search.processes(&[allowed, &[this], &started].concat())).collect()
    }

    fn spilled_in(&self, said: &[(&str, &[u8])]) -> Vec<Sighting> {
        let search = Sweep::new(&self.canaries);
        said.iter().flat_map(|(place, bytes)| search.text(place, bytes)).collect()
    }

    /// Replaces what differs from run to run: the directories, and the ids of bottles, which are the names in the state directory.
    fn normal(&self, said: &[u8]) -> String {
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

/// A run that has ended, with its paths and ids replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub ending: Ending,
    /// All of it.
    pub stdout: String,
    /// All of it.
    pub stderr: String,
}

impl Ended {
    /// Compares everything, and shows everything if anything differs.
    #[track_caller]
    pub fn expect(&self, code: i32, stdout: &str, stderr: &str) {
        let expected = Self { ending: Ending::Code(code), stdout: stdout.to_owned(), stderr: stderr.to_owned() };
        assert!(*self == expected, "expected:\n{}\nfound:\n{}", expected.shown(), self.shown());
    }

    fn shown(&self) -> String {
        format!("{:?}\n--- stdout\n{}--- stderr\n{}---", self.ending, self.stdout, self.stderr)
    }
}

/// A run at a terminal.
#[derive(Debug)]
pub struct AtTerminal<'a> {
    bottle: &'a Bottle,
    /// The operator's side.
    pub pty: Pty,
    warden: Warden,
    residue: Residue,
}

impl AtTerminal<'_> {
    /// The id of `bottle` itself.
    pub fn pid(&self) -> i32 {
        self.warden.pid()
    }

    /// Waits for the end, checks residue (the terminal's modes too) and secrets, and returns how it ended and every byte that
    /// was on the screen.
    pub fn end(mut self) -> (Ending, Vec<u8>) {
        let patience = self.bottle.patience;
        let Some(ending) = self.warden.wait(patience).expect("the warden reports") else {
            panic!("bottle did not end within {patience:?}; on the screen: {}", self.pty.seen().escape_ascii())
        };
        self.residue.assert_empty_after();
        let screen = self.pty.read_to_end(patience).expect("the terminal ends with its last process");
        let mut spilled = self.bottle.spilled(&[self.warden.id()]);
        spilled.extend(self.bottle.spilled_in(&[("screen", &screen)]));
        assert!(spilled.is_empty(), "secrets were found: {spilled:#?}");
        (ending, screen)
    }
}

/// A run on pipes that goes on.
#[derive(Debug)]
pub struct OnPipes<'a> {
    bottle: &'a Bottle,
    warden: Warden,
    residue: Residue,
    stdout: Collector,
    stderr: Collector,
}

impl OnPipes<'_> {
    /// The id of `bottle` itself.
    pub fn pid(&self) -> i32 {
        self.warden.pid()
    }

    /// The id of the warden, below which all processes of the run are.
    pub fn warden(&self) -> i32 {
        self.warden.id()
    }

    /// Waits until `text` has come on standard output; panics if it does not.
    #[track_caller]
    pub fn said(&self, text: &str) {
        self.stdout.wait_for(text, self.bottle.patience);
    }

    /// Waits for the end of the first process, and does not look at anything else.
    pub fn wait(&mut self, patience: Duration) -> Option<Ending> {
        self.warden.wait(patience).expect("the warden reports")
    }

    /// The processes of the run that live now.
    pub fn processes(&self) -> Vec<Leftover> {
        self.residue.leftovers().into_iter().filter(|leftover| matches!(leftover, Leftover::Process { .. })).collect()
    }

    /// Waits for the end. Panics if the run hangs, left anything behind, or spilled a secret.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let patience = self.bottle.patience;
        let ending = self.warden.wait(patience).expect("the warden reports");
        // Asked while the warden lives, as it holds the orphans.
        let left = self.residue.settled();
        let ended = self.collect(ending);
        Residue::assert_none(&left);
        ended
    }

    /// The end of a run that was killed: like [`Self::end`], but what it left is the caller's to ask for.
    #[track_caller]
    pub fn end_killed(mut self) -> Ended {
        let ending = self.warden.wait(self.bottle.patience).expect("the warden reports");
        self.collect(ending)
    }

    #[track_caller]
    fn collect(self, ending: Option<Ending>) -> Ended {
        let (bottle, patience) = (self.bottle, self.bottle.patience);
        let spilled = bottle.spilled(&[self.warden.id()]);
        drop(self.warden);
        let [stdout, stderr] = [self.stdout, self.stderr].map(Collector::end);
        let spilled = bottle.spilled_in(&[("stdout", &stdout), ("stderr", &stderr)]).into_iter().chain(spilled).collect::<Vec<_>>();
        let (out, err) = (bottle.normal(&stdout), bottle.normal(&stderr));
        let Some(ending) = ending else { panic!("bottle did not end within {patience:?}\nstdout:\n{out}\nstderr:\n{err}") };
        assert!(spilled.is_empty(), "secrets were found: {spilled:#?}");
        Ended { ending, stdout: out, stderr: err }
    }
}

/// What has come, whether that is all, and the news of it.
type Collected = (Mutex<(Vec<u8>, bool)>, Condvar);

/// A stream that is read as it comes.
#[derive(Debug)]
struct Collector {
    seen: Arc<Collected>,
    thread: JoinHandle<()>,
}

impl Collector {
    fn of(mut reader: impl Read + Send + 'static) -> Self {
        let seen = Arc::new((Mutex::new((Vec::new(), false)), Condvar::new()));
        let shared = seen.clone();
        let thread = thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            loop {
                let count = match reader.read(&mut buffer) {
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    // What came before an error is what there is.
                    read => read.unwrap_or(0),
                };
                let mut seen = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                seen.0.extend_from_slice(&buffer[..count]);
                seen.1 = count == 0;
                shared.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Self { seen, thread }
    }

    #[track_caller]
    fn wait_for(&self, text: &str, patience: Duration) {
        let is_there = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        let seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.seen.1.wait_timeout_while(seen, patience, |seen| !seen.1 && !is_there(&seen.0));
        let seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        assert!(is_there(&seen.0), "{text:?} did not come; instead: {}", seen.0.escape_ascii());
    }

    fn end(self) -> Vec<u8> {
        self.thread.join().expect("output is collected");
        std::mem::take(&mut self.seen.0.lock().unwrap_or_else(PoisonError::into_inner).0)
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
