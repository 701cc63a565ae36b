//! The binary itself, as the supervisor starts it: descriptors, signals, an empty root, a limit on descriptors.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use bottle_contract::event::Event;
use bottle_contract::handoff;
use bottle_contract::pipelock::{PipelockConfig, Ports};
use command_fds::{CommandFdExt, FdMapping};
use http::Response;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::support::origin::text;
use crate::support::sibling::{Sibling, empty, full, get};
use crate::support::{DEADLINE, Origin, config, config_for};

const BINARY: &str = env!("CARGO_BIN_EXE_bottle-pipelock");

/// A running `bottle-pipelock`.
struct Process {
    child: Child,
    directory: TempDir,
    socket: PathBuf,
    events: Receiver<Event>,
}

impl Process {
    /// Starts it by `command`, whose last arguments become `--config DIR`, and waits until it says that it is ready.
    fn start(mut command: Command, directory: TempDir, config_argument: &str, config: &PipelockConfig) -> Self {
        let socket = directory.path().join("pipelock.sock");
        write(directory.path(), &serde_json::to_vec(config).unwrap());
        let link = OwnedFd::from(StdUnixListener::bind(&socket).unwrap());
        let (mut ready, said) = std::io::pipe().unwrap();
        command.args(["--config", config_argument]).env_clear();
        command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "link").env(handoff::READY_FD, "4");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
            .fd_mappings(vec![
                FdMapping { parent_fd: link, child_fd: handoff::FIRST_LISTENER },
                FdMapping { parent_fd: said.into(), child_fd: handoff::FIRST_LISTENER + 1 },
            ])
            .unwrap();
        let mut child = command.spawn().unwrap();
        drop(command);
        let (sender, events) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines() {
                let line = line.unwrap();
                let event = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not an event: {line}"));
                let _ = sender.send(event);
            }
        });
        let mut word = Vec::new();
        ready.by_ref().take(handoff::READY.len() as u64).read_to_end(&mut word).unwrap();
        let process = Self { child, directory, socket, events };
        assert_eq!(word, handoff::READY, "{:?}", process.events.recv());
        assert_eq!(process.event().event, "ready");
        process
    }

    fn here(config: &PipelockConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let argument = directory.path().display().to_string();
        Self::start(Command::new(BINARY), directory, &argument, config)
    }

    fn event(&self) -> Event {
        self.events.recv_timeout(DEADLINE).expect("an event in time")
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// The most memory that it ever had, in KiB.
    fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    async fn sibling(&self) -> Sibling {
        Sibling::over(UnixStream::connect(&self.socket).await.unwrap()).await
    }

    async fn status(&self, uri: &str) -> u16 {
        self.sibling().await.exchange(get(uri).body(empty()).unwrap()).await.told().0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Replaces the configuration as the supervisor does.
fn write(directory: &Path, text: &[u8]) {
    std::fs::write(directory.join("next"), text).unwrap();
    std::fs::rename(directory.join("next"), directory.join("pipelock.yaml")).unwrap();
}

async fn fine(_: http::Request<hyper::body::Incoming>) -> crate::support::origin::Answer {
    Response::new(text("fine"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_from_a_root_that_holds_nothing_but_itself() {
    let origin = Origin::start(false, fine).await;
    let root = tempfile::tempdir().unwrap();
    std::fs::copy(BINARY, root.path().join("bottle-pipelock")).unwrap();
    std::fs::copy(&origin.authority, root.path().join("authority.pem")).unwrap();
    let mut config = config_for("a.test", &origin);
    config.x_bottle.trust = vec!["/authority.pem".into()];
    let mut command = Command::new("/usr/bin/unshare");
    command.arg("--map-root-user").arg(format!("--root={}", root.path().display())).arg("/bottle-pipelock");
    let process = Process::start(command, root, "/", &config);
    assert_eq!(process.status("https://a.test/").await, 200);
    // There is no /etc/resolv.conf, and no resolver is made up in its place.
    let answer = process.sibling().await.exchange(get("https://b.test/").body(empty()).unwrap()).await;
    let (status, refusal) = answer.refusal();
    assert_eq!((status, refusal.reason.slug()), (502, "name_not_resolved"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_resolves_by_the_files_that_are_mounted_and_reads_them_again_on_reload() {
    let origin = Origin::start(false, fine).await;
    let root = tempfile::tempdir().unwrap();
    std::fs::copy(BINARY, root.path().join("bottle-pipelock")).unwrap();
    std::fs::copy(&origin.authority, root.path().join("authority.pem")).unwrap();
    let etc = root.path().join("etc");
    std::fs::create_dir(&etc).unwrap();
    let mut config = config();
    config.x_bottle.trust = vec!["/authority.pem".into()];
    config.x_bottle.ports = vec![Ports { host: "*".parse().unwrap(), ports: vec![origin.address.port()] }];
    config.ssrf.ip_allowlist = vec!["127.0.0.1".into()];
    let mut command = Command::new("/usr/bin/unshare");
    command.arg("--map-root-user").arg(format!("--root={}", root.path().display())).arg("/bottle-pipelock");
    let process = Process::start(command, root, "/", &config);
    let uri = format!("https://a.test:{}/", origin.address.port());
    assert_eq!(process.status(&uri).await, 502);
    assert_eq!(process.event().reason, Some(bottle_contract::Reason::NameNotResolved));
    // Nobody answers at this server: the name can only come from the hosts file.
    std::fs::write(etc.join("resolv.conf"), "nameserver 127.0.0.254\noptions timeout:1 attempts:1\nsearch evil.test\n").unwrap();
    std::fs::write(etc.join("hosts"), "127.0.0.1 a.test\n127.0.0.2 b.test\n").unwrap();
    process.signal(nix::sys::signal::Signal::SIGHUP);
    assert_eq!(process.event().event, "reload");
    let status = process.status(&uri).await;
    let event = process.event();
    assert_eq!(status, 200, "{event:?}");
    assert_eq!(event.dialled, Some(origin.address.to_string()));
    assert_eq!(process.status(&uri.replace("a.test", "b.test")).await, 403);
    assert_eq!(process.event().reason, Some(bottle_contract::Reason::AddressNotPublic));
}

// covers: H18
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_of_every_encoding_at_once_cost_little_memory() {
    let origin = Origin::start(false, fine).await;
    let process = Process::here(&config_for("a.test", &origin));
    let zeros = vec![0; 48 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&zeros).unwrap();
    let mut br = Vec::new();
    brotli::CompressorWriter::new(&mut br, 65_536, 5, 22).write_all(&zeros).unwrap();
    let mut zstd = Vec::with_capacity(zstd_safe::compress_bound(zeros.len()));
    zstd_safe::compress(&mut zstd, &zeros, 3).unwrap();
    let bombs = [("gzip", gzip.finish().unwrap()), ("br", br), ("zstd", zstd)];
    let before = process.peak_memory();
    let mut sent = tokio::task::JoinSet::new();
    for (encoding, bomb) in bombs.iter().cycle().take(12).cloned() {
        let stream = UnixStream::connect(&process.socket).await.unwrap();
        sent.spawn(async move {
            let request = http::Request::post("https://a.test/").header("content-encoding", encoding).body(full(bomb)).unwrap();
            Sibling::over(stream).await.exchange(request).await.refusal().1.reason.slug()
        });
    }
    while let Some(reason) = sent.join_next().await {
        assert_eq!(reason.unwrap(), "body_not_scannable");
    }
    let grown = process.peak_memory() - before;
    assert!(grown < 32 << 10, "grown by {grown} KiB");
}

// covers: Y10
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_replaced_under_load_are_each_old_or_new_and_never_in_between() {
    use nix::sys::signal::Signal::SIGHUP;
    let origin = Origin::start(false, fine).await;
    let mut config = config_for("a.test", &origin);
    let process = Process::here(&config);
    let listed = config.api_allowlist.clone();
    let mut sibling = process.sibling().await;
    for generation in 2..=40 {
        // Even policies list the origin, odd ones nothing; every fifth file is cut short, so its policy never is.
        config.x_bottle.generation = generation;
        config.api_allowlist = if generation % 2 == 0 { listed.clone() } else { Vec::new() };
        let mut text = serde_json::to_vec(&config).unwrap();
        if generation % 5 == 0 {
            text.truncate(text.len() / 2);
        }
        write(process.directory.path(), &text);
        process.signal(SIGHUP);
        let answer = sibling.exchange(get("https://a.test/").body(empty()).unwrap()).await;
        let mut reloads = 0;
        let mut judged = None;
        while reloads == 0 || judged.is_none() {
            let event = process.event();
            match &event.event[..] {
                "reload" => {
                    assert!(generation % 5 != 0 && event.generation == Some(generation));
                    reloads += 1;
                }
                "reload_failed" => {
                    assert!(generation % 5 == 0);
                    reloads += 1;
                }
                _ => judged = event.generation,
            }
        }
        let expected = if judged.unwrap() % 2 == 0 || judged == Some(1) { 200 } else { 403 };
        assert_eq!(answer.told().0, expected, "judged by generation {judged:?}");
    }
}

// covers: X08
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_few_descriptors_it_refuses_and_recovers() {
    let origin = Origin::start(false, fine).await;
    let directory = tempfile::tempdir().unwrap();
    let argument = directory.path().display().to_string();
    let mut command = Command::new("/usr/bin/prlimit");
    command.arg("--nofile=64:64").arg(BINARY);
    let mut process = Process::start(command, directory, &argument, &config_for("a.test", &origin));
    let mut idle = Vec::new();
    for _ in 0..100 {
        if let Ok(stream) = UnixStream::connect(&process.socket).await {
            idle.push(stream);
        }
    }
    // Every new request is answered, refused or cut off; none hangs, and none is passed on unseen.
    let ask = async || {
        let stream = UnixStream::connect(&process.socket).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let request = get("https://a.test/").header("host", "a.test").body(empty()).unwrap();
        let answer = timeout(DEADLINE, sender.send_request(request)).await.expect("an answer or an end in time").ok()?;
        let reason = answer.headers().get("x-bottle-reason").map(|reason| reason.to_str().unwrap().to_owned());
        Some((answer.status().as_u16(), reason))
    };
    for _ in 0..5 {
        let told = ask().await;
        assert!(told.is_none() || told == Some((429, Some("too_many".to_owned()))), "{told:?}");
    }
    drop(idle);
    let deadline = Instant::now() + DEADLINE;
    while ask().await != Some((200, None)) {
        assert!(Instant::now() < deadline, "it does not recover");
    }
    assert!(process.child.try_wait().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stops_when_it_is_told_to() {
    let mut process = Process::here(&config());
    process.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(process.event().event, "stopping");
    let ended = tokio::task::spawn_blocking(move || process.child.wait());
    let status = timeout(DEADLINE, ended).await.expect("it stops").unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn it_does_not_start_without_a_table_or_a_listener() {
    let directory = tempfile::tempdir().unwrap();
    for (text, word) in [(None, "No such file"), (Some("{}"), "missing field"), (Some("whole"), "listening socket")] {
        match text {
            None => {}
            Some("whole") => write(directory.path(), &serde_json::to_vec(&config()).unwrap()),
            Some(text) => write(directory.path(), text.as_bytes()),
        }
        let output = Command::new(BINARY).arg("--config").arg(directory.path()).env_clear().output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        let event: Event = serde_json::from_slice(&output.stderr).unwrap();
        assert!(event.message.as_deref().unwrap().contains(word), "{event:?}");
    }
}
