//! The real container engines beside the machine: started once for each test process, and ended with it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::bottle::Bottle;

/// What is beyond an engine's host: see `tests/engines/engine`.
pub const WORLD: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The host's own address towards it.
pub const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// An engine that runs.
#[derive(Debug)]
pub struct Engine {
    /// `release` or `current`.
    pub name: &'static str,
    environment: BTreeMap<String, String>,
    directory: PathBuf,
    /// It stops the engine when its standard input ends, which the kernel closes with this process.
    _keeper: Child,
}

/// The engines of this machine, both or none. Where they cannot be had, that is said, and fails in CI.
pub fn engines() -> &'static [Engine] {
    static ENGINES: OnceLock<Vec<Engine>> = OnceLock::new();
    ENGINES.get_or_init(|| start_all("shared"))
}

/// The same engines once more, for tests that stop or end them: one such test at a time.
pub fn victims() -> &'static [Engine] {
    static VICTIMS: OnceLock<Vec<Engine>> = OnceLock::new();
    VICTIMS.get_or_init(|| start_all("victim"))
}

#[expect(clippy::print_stderr, reason = "a skip is said where the test's output is")]
fn start_all(purpose: &str) -> Vec<Engine> {
    let missing = if !nix::unistd::geteuid().is_root() {
        Some("engines are started by root only")
    } else if crate::tools::tool("apt-get").is_none() {
        Some("their packages come by apt-get")
    } else {
        None
    };
    if let Some(why) = missing {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no engine: {why}, and CI must not skip the compose backend");
        eprintln!("SKIPPED: the compose backend is not tested: {why}");
        return Vec::new();
    }
    let wanted = std::env::var("BOTTLE_TEST_ENGINES").unwrap_or_else(|_| "release current".into());
    let started: Vec<_> =
        ["current", "release"].into_iter().filter(|name| wanted.contains(name)).map(|name| Engine::starting(name, purpose)).collect();
    started.into_iter().map(|(name, directory, keeper)| Engine::started(name, directory, keeper)).collect()
}

impl Engine {
    fn starting(name: &'static str, purpose: &str) -> (&'static str, PathBuf, Child) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engines/engine");
        // Short: sockets lie in it. Outside of it nothing is written.
        let directory = PathBuf::from(format!("/tmp/be-{}-{name}-{purpose}", std::process::id()));
        let mut command = Command::new(script);
        // The one keeps its containers when its daemon ends, the other does not.
        command.env("BOTTLE_ENGINE_LIVES_ON", if purpose == "victim" && name == "current" { "true" } else { "false" });
        command.args(["hold", name]).arg(&directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        (name, directory, command.spawn().expect("the engine's script runs"))
    }

    fn started(name: &'static str, directory: PathBuf, mut keeper: Child) -> Self {
        let stdout = keeper.stdout.take().expect("it is piped");
        let lines = BufReader::new(stdout).lines().map(|line| line.expect("text")).take_while(|line| !line.is_empty());
        let environment: BTreeMap<_, _> =
            lines.filter_map(|line| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))).collect();
        assert!(environment.contains_key("DOCKER_HOST"), "the engine `{name}` did not start: {environment:?}");
        Self { name, environment, directory, _keeper: keeper }
    }

    /// A variable of its clients.
    pub fn variable(&self, name: &str) -> &str {
        &self.environment[name]
    }

    /// The network namespace of its host.
    pub fn host(&self) -> &Path {
        Path::new(self.variable("BOTTLE_ENGINE_HOST"))
    }

    /// The network namespace beyond.
    pub fn world(&self) -> &Path {
        Path::new(self.variable("BOTTLE_ENGINE_WORLD"))
    }

    /// Its directory: `docker.pid`, `log`; while `hold` is in it, an ended daemon is not started anew.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its client.
    pub fn docker<A: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new("docker");
        command.envs(&self.environment).args(arguments).stdin(Stdio::null());
        command
    }

    /// What the client prints; it must succeed.
    #[track_caller]
    pub fn said<A: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        let output = self.docker(arguments).output().expect("the client runs");
        assert!(output.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Makes a bottle run on it.
    pub fn under(&self, bottle: Bottle) -> Bottle {
        let bottle = self.environment.iter().filter(|(name, _)| !name.starts_with("BOTTLE_")).fold(bottle, |b, (k, v)| b.env(k, v));
        bottle.env("BOTTLE_BACKEND", "compose")
    }

    /// Objects that carry a label of bottle's, one a line: nothing, when all bottles are gone. `owner` is the label of one state directory.
    pub fn objects(&self, owner: Option<&str>) -> Vec<String> {
        let filter = owner.map_or("label=dev.bottle.project".to_owned(), |owner| format!("label=dev.bottle.state={owner}"));
        let mut found = Vec::new();
        for (kind, list) in [
            ("container", &["ps", "-a", "--format", "{{.Names}} {{.Status}}"][..]),
            ("network", &["network", "ls", "--format", "{{.Name}}"]),
            ("volume", &["volume", "ls", "--format", "{{.Name}}"]),
        ] {
            let said = self.said(list.iter().copied().chain(["--filter", &filter]));
            found.extend(said.lines().map(|line| format!("{kind} {line}")));
        }
        found
    }

    /// Every container and network there is, but for the engine's own: what a run made without a label is here, too.
    pub fn everything(&self) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for (kind, list) in [
            ("container", &["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}}"][..]),
            ("network", &["network", "ls", "--filter", "type=custom", "--format", "{{.Name}}"]),
            ("volume", &["volume", "ls", "--format", "{{.Name}}"]),
        ] {
            found.extend(self.said(list).lines().map(|line| format!("{kind} {line}")));
        }
        found
    }
}
