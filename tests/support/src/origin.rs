//! The far end as a child process: what it recorded, and how a synchronous test starts, asks and ends it.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::deadline::wait_until;

/// One request as it arrived, or one message of a WebSocket (method `MESSAGE`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Counts from 1 in the order in which the requests were complete.
    pub n: u64,
    /// The connection it came on, counted from 1.
    pub connection: u64,
    /// The name that the TLS client asked for (SNI).
    pub server_name: Option<String>,
    /// `https` or `http`.
    pub scheme: String,
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub version: String,
    /// The method.
    pub method: String,
    /// The request target as it was sent.
    pub target: String,
    /// The `Host` header, or `:authority`.
    pub host: Option<String>,
    /// Every field in order; bytes that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// Fields after the body.
    #[serde(default)]
    pub trailers: Vec<(String, String)>,
    /// Of the whole body, in hex.
    pub body_sha256: String,
    /// Bytes of the body.
    pub body_len: u64,
    /// The body's first 4 KiB; bytes that are not UTF-8 are replaced.
    pub body_head: String,
    /// False if the body broke off.
    pub complete: bool,
}

impl Request {
    /// The first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// One connection, also one that brought no request: who knocked and was not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Counts from 1.
    pub n: u64,
    /// `https`, `http` or `relay`.
    pub listener: String,
    /// SNI, or what a `CONNECT` to the relay named.
    pub name: Option<String>,
    /// Why no TLS session came of it.
    pub failure: Option<String>,
}

/// Where a serving origin is reached: the content of `ready.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The TLS port.
    pub https: SocketAddr,
    /// The port without TLS.
    pub http: SocketAddr,
    /// A `CONNECT` proxy that leads every name to the two ports above and nowhere else.
    pub relay: SocketAddr,
    /// PEM file of the authority that signs for every name.
    pub ca: PathBuf,
}

/// Reads a file of JSON lines. A file that does not exist has none, and a last line without its end is still being written.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    whole.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}

/// A `bottle-origin` process. It ends with this value.
#[derive(Debug)]
pub struct Origin {
    child: Child,
    stdin: Option<ChildStdin>,
    directory: TempDir,
    ready: Ready,
}

impl Origin {
    /// The program as cargo lays it: in the directory above a test executable's `deps`.
    pub fn program_beside(test: &Path) -> PathBuf {
        let directory = test.parent().unwrap_or(Path::new("."));
        let directory = if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory };
        directory.join("bottle-origin")
    }

    /// Starts `program` with further arguments and returns when it serves.
    pub fn spawn(program: &Path, arguments: &[&str]) -> io::Result<Self> {
        Self::spawn_by(Command::new(program), program, arguments)
    }

    /// The same in another network namespace, on an address there. Only root can.
    pub fn spawn_in(network: &Path, address: Ipv4Addr, program: &Path, arguments: &[&str]) -> io::Result<Self> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", network.display())).arg(program).arg("--address").arg(address.to_string());
        Self::spawn_by(command, program, arguments)
    }

    fn spawn_by(mut command: Command, program: &Path, arguments: &[&str]) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("bottle-origin-").tempdir()?;
        command.arg("--dir").arg(directory.path()).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn_from_a_thread_that_stays(command)?;
        let stdin = child.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        match serde_json::from_str(&line) {
            Ok(ready) => Ok(Self { child, stdin, directory, ready }),
            Err(_) => {
                drop(stdin);
                let status = child.wait()?;
                Err(io::Error::other(format!("{} did not become ready: {status}", program.display())))
            }
        }
    }

    /// Where it is reached.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Its directory: `requests.jsonl`, and the files by which a test changes its answers.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What has arrived so far.
    pub fn requests(&self) -> Vec<Request> {
        read_lines(&self.directory.path().join("requests.jsonl")).expect("requests.jsonl is what the origin wrote")
    }

    /// Who has connected so far.
    pub fn connections(&self) -> Vec<Connection> {
        read_lines(&self.directory.path().join("connections.jsonl")).expect("connections.jsonl is what the origin wrote")
    }

    /// Waits until at least `n` requests have arrived; panics with those that have when `patience` is over.
    pub fn wait_for(&self, n: usize, patience: Duration) -> Vec<Request> {
        wait_until(patience, || Some(self.requests()).filter(|requests| requests.len() >= n))
            .unwrap_or_else(|| panic!("{n} requests were expected, these came: {:#?}", self.requests()))
    }

    /// Lets the next `n` events of the stream `/sse?release=STREAM` go.
    pub fn release(&mut self, stream: &str, n: usize) -> io::Result<()> {
        match &mut self.stdin {
            Some(stdin) => writeln!(stdin, "release {stream} {n}").and_then(|()| stdin.flush()),
            None => Err(io::Error::other("the origin has ended")),
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stdin = None;
        let ended = wait_until(Duration::from_secs(5), || self.child.try_wait().ok().flatten());
        if ended.is_none() {
            // It is ours and not yet reaped, so its id cannot be another's.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A child that asks for a signal at its parent's death gets it when the *thread* that spawned it ends (prctl(2)), and each
/// test has a thread of its own. So one thread that never ends spawns for all.
fn spawn_from_a_thread_that_stays(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, received) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in received {
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, answered) = mpsc::channel();
    spawner.send((command, answer)).map_err(|_| io::Error::other("the spawning thread has ended"))?;
    answered.recv().map_err(|_| io::Error::other("the spawning thread has ended"))?
}
