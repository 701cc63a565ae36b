//! A running `bottle-git-gate`, a stub of `pipelock`'s tunnels, a far end, and git with nothing of the caller's settings.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bottle_contract::event::Event;
use bottle_contract::gate::{FILE, PushPolicy};
use bottle_contract::handoff;
use bottle_test_support::origin::Origin;
use command_fds::{CommandFdExt, FdMapping};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take before a test fails.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// What a secret looks like: the shape of a GitHub token with a checksum that holds.
pub(crate) fn secret() -> String {
    ["ghp", "_", "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx"].concat()
}

/// Runs a program to its end; its failure is the test's.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs a program to its end and returns what it wrote.
pub(crate) fn run_bytes(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Git with an empty configuration.
pub(crate) fn git(directory: &Path) -> Command {
    git_of("git", directory)
}

/// A particular git.
pub(crate) fn git_of(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", directory).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_TERMINAL_PROMPT", "0");
    for (name, value) in [("GIT_AUTHOR_NAME", "Ann"), ("GIT_COMMITTER_NAME", "Ann")] {
        command.env(name, value);
    }
    command.env("GIT_AUTHOR_EMAIL", "ann@work.test").env("GIT_COMMITTER_EMAIL", "ann@work.test");
    command.args(["-c", "safe.directory=*", "-c", "init.defaultBranch=main", "-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
    command
}

/// A working tree.
pub(crate) struct Tree {
    pub(crate) path: PathBuf,
    port: u16,
}

impl Tree {
    /// A tree that is there already, and the gate's port.
    pub(crate) fn at(path: PathBuf, port: u16) -> Self {
        Self { path, port }
    }

    /// Git in this tree, which finds the gate.
    pub(crate) fn git(&self) -> Command {
        self.git_of("git")
    }

    /// A particular git in this tree.
    pub(crate) fn git_of(&self, program: &str) -> Command {
        let mut command = git_of(program, &self.path);
        command.arg("-c").arg(format!("http.curloptResolve=git-gate:{}:127.0.0.1", self.port));
        command
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Commits all that is there; returns the commit's id.
    pub(crate) fn commit(&self, message: &str) -> String {
        run(self.git().args(["add", "-A"]));
        run(self.git().args(["commit", "-q", "--allow-empty", "-m", message]));
        self.head()
    }

    pub(crate) fn head(&self) -> String {
        run(self.git().args(["rev-parse", "HEAD"]))
    }

    /// Pushes through the gate.
    pub(crate) fn push(&self, words: &[&str]) -> Pushed {
        Pushed::of(self.git().args(["push", "--no-verify", "origin"]).args(words))
    }
}

/// How a push went.
#[derive(Debug)]
pub(crate) struct Pushed {
    pub(crate) ok: bool,
    /// All that git says.
    pub(crate) said: String,
}

impl Pushed {
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output { status, stderr, .. } = command.output().unwrap();
        Self { ok: status.success(), said: String::from_utf8_lossy(&stderr).into_owned() }
    }

    pub(crate) fn is_refused_with(&self, words: &str) {
        assert!(!self.ok && self.said.contains(words), "not refused with {words:?}: {}", self.said);
    }

    /// Refused for what this rule found, at this place.
    pub(crate) fn is_refused_for(&self, rule: &str, place: &str) {
        let mut lines = self.said.lines().filter(|line| line.contains(&format!("  {rule} in ")));
        assert!(!self.ok && lines.any(|line| line.trim_end().ends_with(place)), "not refused for {rule} in {place}: {}", self.said);
    }

    pub(crate) fn is_taken(&self) {
        assert!(self.ok, "{}", self.said);
    }
}

/// Where a host and port lead.
type Names = Vec<((String, u16), SocketAddr)>;

/// Where names lead, and how many more bytes may go up before every tunnel breaks.
#[derive(Clone, Default)]
pub(crate) struct Map {
    pub(crate) names: Arc<Mutex<Names>>,
    pub(crate) breaks_after: Arc<Mutex<Option<usize>>>,
}

/// Pipelock's side of the link: opens tunnels to declared targets on this machine.
pub(crate) fn tunnels(socket: &Path, map: Map) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, map) = (stream.unwrap(), map.clone());
            std::thread::spawn(move || tunnel(stream, &map));
        }
    });
}

fn tunnel(mut stream: UnixStream, map: &Map) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let (host, port) = head.split(' ').nth(1)?.rsplit_once(':')?;
    let target = (host.to_owned(), port.parse().ok()?);
    let address = map.names.lock().unwrap().iter().find(|(name, _)| *name == target).map(|(_, address)| *address);
    let Some(Ok(far)) = address.map(TcpStream::connect) else {
        stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\nx-bottle-reason: upstream_unreachable\r\ncontent-length: 0\r\n\r\n").ok()?;
        return None;
    };
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    let (mut far_in, mut near_in) = (far.try_clone().ok()?, stream.try_clone().ok()?);
    let breaks = map.breaks_after.clone();
    let up = std::thread::spawn(move || {
        let mut chunk = vec![0; 16 << 10];
        while let Ok(read) = near_in.read(&mut chunk) {
            let cut = breaks.lock().unwrap().as_mut().is_some_and(|left| {
                *left = left.saturating_sub(read);
                *left == 0
            });
            if cut {
                let _ = (far_in.shutdown(std::net::Shutdown::Both), near_in.shutdown(std::net::Shutdown::Both));
                return;
            }
            if read == 0 || far_in.write_all(&chunk[..read]).is_err() {
                break;
            }
        }
        let _ = far_in.shutdown(std::net::Shutdown::Write);
    });
    let mut far_out = far;
    let _ = std::io::copy(&mut far_out, &mut stream);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    up.join().ok()
}

/// A whole world: far end, gate, and a clone.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) map: Map,
    pub(crate) gate: Gate,
    pub(crate) origin: Option<Origin>,
}

/// How a world differs from the usual one.
pub(crate) struct WorldOptions {
    pub(crate) policy: PushPolicy,
    pub(crate) limits: Value,
    pub(crate) upstream: Option<Value>,
    pub(crate) fingerprints: Value,
    /// Texts of rule files.
    pub(crate) rules: Vec<&'static str>,
}

impl Default for WorldOptions {
    fn default() -> Self {
        let allow = vec!["refs/heads/agent/*".to_owned(), "refs/tags/agent-*".to_owned()];
        Self {
            policy: PushPolicy { allow, ..PushPolicy::default() },
            limits: json!({}),
            upstream: None,
            fingerprints: Value::Null,
            rules: Vec::new(),
        }
    }
}

/// The credential that upstream gets.
pub(crate) const TOKEN: &str = "x-access-token:r3al-t0ken-of-the-operator";

impl World {
    pub(crate) fn new() -> Self {
        Self::with(WorldOptions::default())
    }

    /// Upstream is `git http-backend` behind TLS, with one commit on `main`, unless `options` says otherwise.
    pub(crate) fn with(options: WorldOptions) -> Self {
        Self::prepared(options, |_, _| {})
    }

    /// The same, with something done before the gate starts.
    pub(crate) fn prepared(options: WorldOptions, prepare: impl FnOnce(&Path, &Map)) -> Self {
        let directory = tempfile::Builder::new().prefix("gate-").tempdir().unwrap();
        let repositories = directory.path().join("upstream");
        make_upstream(&repositories.join("writable/app.git"));
        let program = Origin::program_beside(&std::env::current_exe().unwrap());
        let serve = format!("git.test={}", repositories.display());
        let origin = Origin::spawn(&program, &["--serve", &serve]).unwrap();
        let map = Map::default();
        map.names.lock().unwrap().push((("git.test".into(), 443), origin.ready().https));
        let upstream = options.upstream.clone().unwrap_or_else(|| {
            json!({"https": {"host": "git.test", "port": 443, "path": "/writable/app.git",
                "auth": {"header": "authorization", "scheme": "Basic", "slot": "GIT_SECRET_0"}}})
        });
        prepare(directory.path(), &map);
        let trust = vec![origin.ready().ca.clone()];
        let gate = Gate::start(directory.path(), &map, &upstream, &options, &trust);
        Self { directory, map, gate, origin: Some(origin) }
    }

    /// The repository that the far end serves.
    pub(crate) fn upstream(&self) -> PathBuf {
        self.directory.path().join("upstream/writable/app.git")
    }

    /// All refs upstream and their values.
    pub(crate) fn refs(&self) -> Vec<String> {
        let refs = run(git(&self.upstream()).args(["for-each-ref", "--format=%(refname) %(objectname)"]));
        refs.lines().map(str::to_owned).collect()
    }

    /// The URL at the gate.
    pub(crate) fn url(&self) -> String {
        format!("http://git-gate:{}/app.git", self.gate.port)
    }

    /// A clone through the gate.
    pub(crate) fn clone_named(&self, name: &str) -> Tree {
        let path = self.directory.path().join(name);
        let tree = Tree { path: self.directory.path().to_owned(), port: self.gate.port };
        run(tree.git().args(["clone", "-q", &self.url()]).arg(&path));
        Tree { path, port: self.gate.port }
    }

    /// A repository of its own, with the gate as `origin`.
    pub(crate) fn fresh(&self, name: &str) -> Tree {
        let path = self.directory.path().join(name);
        fs::create_dir_all(&path).unwrap();
        let tree = Tree { path, port: self.gate.port };
        run(tree.git().args(["init", "-q"]));
        run(tree.git().args(["remote", "add", "origin", &self.url()]));
        tree
    }

    /// The secret is nowhere upstream.
    pub(crate) fn has_not_leaked(&self, secret: &str) {
        let all = run(git(&self.upstream()).args(["cat-file", "--batch-all-objects", "--batch"]));
        assert!(!all.contains(secret), "the secret is upstream");
        run(git(&self.upstream()).args(["fsck", "--strict", "--no-dangling"]));
    }
}

/// A bare repository with one commit on `main`.
pub(crate) fn make_upstream(path: &Path) {
    fs::create_dir_all(path).unwrap();
    run(git(path).args(["init", "-q", "--bare"]));
    let tree = run(git(path).args(["mktree"]).stdin(Stdio::null()));
    let commit = run(git(path).args(["commit-tree", &tree, "-m", "first"]));
    run(git(path).args(["update-ref", "refs/heads/main", &commit]));
}

/// The gate's process.
pub(crate) struct Gate {
    child: Child,
    pub(crate) port: u16,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Gate {
    /// Starts it as the supervisor does.
    pub(crate) fn start(directory: &Path, map: &Map, upstream: &Value, options: &WorldOptions, trust: &[PathBuf]) -> Self {
        let (config, secrets) = (directory.join("config"), directory.join("secrets"));
        let link = directory.join("pipelock.sock");
        if !link.exists() {
            tunnels(&link, map.clone());
        }
        fs::create_dir_all(&config).unwrap();
        fs::create_dir_all(&secrets).unwrap();
        fs::write(secrets.join("GIT_SECRET_0"), TOKEN).unwrap();
        let repo = json!({"name": "app", "upstream": upstream, "push": options.policy});
        let rules: Vec<Value> = options.rules.iter().map(|text| json!({"path": "mine.toml", "sha256": "", "text": text})).collect();
        let text = json!({"rules": rules, "bottle": "test", "generation": 1, "repos": [repo], "link": link, "trust": trust,
            "fingerprints": options.fingerprints, "limits": options.limits});
        fs::write(config.join(FILE), text.to_string()).unwrap();
        Self::spawn(directory)
    }

    /// Starts it on what `start` has written.
    pub(crate) fn spawn(directory: &Path) -> Self {
        Self::spawn_at(directory, (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// The same, at this address.
    pub(crate) fn spawn_at(directory: &Path, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mut ready, ready_theirs) = std::io::pipe().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bottle-git-gate"));
        command.arg("--config").arg(directory.join("config")).arg("--secrets").arg(directory.join("secrets"));
        command.env_clear().env("SSL_CERT_FILE", "/dev/null").stderr(Stdio::piped());
        let mut environment = handoff::environment(&["agent"], 0);
        environment.retain(|(name, _)| name != "LISTEN_PID");
        command.envs(environment);
        let mapping = |fd: OwnedFd, number| FdMapping { parent_fd: fd, child_fd: number };
        command.fd_mappings(vec![mapping(listener.into(), 3), mapping(ready_theirs.into(), 4)]).unwrap();
        let mut child = command.spawn().unwrap();
        drop(command);
        let events = Arc::new(Mutex::new(Vec::new()));
        let (log, stderr) = (events.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not an event: {line}"));
                log.lock().unwrap().push(event);
            }
        });
        let mut said = String::new();
        ready.by_ref().take(handoff::READY.len() as u64).read_to_string(&mut said).unwrap();
        assert_eq!(said.as_bytes(), handoff::READY, "{:?}", events.lock().unwrap());
        Self { child, port, events }
    }

    /// The events of this name so far.
    pub(crate) fn events(&self, name: &str) -> Vec<Event> {
        self.events.lock().unwrap().iter().filter(|event| event.event == name).cloned().collect()
    }

    /// Waits for the `n`th event of this name.
    pub(crate) fn event(&self, name: &str, n: usize) -> Event {
        let found = bottle_test_support::deadline::wait_until(TIMEOUT, || self.events(name).into_iter().nth(n - 1));
        found.unwrap_or_else(|| panic!("no event {name} {n}: {:#?}", self.events.lock().unwrap()))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The most memory that it ever had, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        status(self.pid(), "VmHWM:")
    }
}

/// A number of `/proc/PID/status`.
pub(crate) fn status(pid: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    text.lines().find_map(|line| line.strip_prefix(key)).and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap()
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
