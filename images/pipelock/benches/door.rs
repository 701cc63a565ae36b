//! The rows P3, P5, P6, P8 and P9 of the benchmark for this sidecar alone: the binary between a sibling's socket and an
//! origin in this process. Direct and through the door alternate; medians of five rounds.

#[allow(dead_code, unused_imports, reason = "the bench uses a part of it")]
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use command_fds::{CommandFdExt, FdMapping};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use support::origin::text;
use support::sibling::{Body, empty, full};
use support::{Origin, config_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

const ROUNDS: usize = 5;
const CONNECTIONS: usize = 32;

struct Door {
    child: Child,
    socket: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl Door {
    fn open(origin: &Origin) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config_for("a.test", origin);
        config.x_bottle.tunnels = vec![serde_json::from_value(serde_json::json!({"host": "a.test", "port": 22})).unwrap()];
        std::fs::write(directory.path().join("pipelock.yaml"), serde_json::to_vec(&config).unwrap()).unwrap();
        let socket = directory.path().join("pipelock.sock");
        let link = OwnedFd::from(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_bottle-pipelock"));
        command.arg("--config").arg(directory.path()).env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "link");
        command.stderr(Stdio::null()).fd_mappings(vec![FdMapping { parent_fd: link, child_fd: 3 }]).unwrap();
        Self { child: command.spawn().unwrap(), socket, _directory: directory }
    }

    /// A field of `/proc/PID/FILE`, in KiB.
    fn memory(&self, file: &str, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn answer(request: Request<hyper::body::Incoming>) -> support::origin::Answer {
    let down = request.uri().path() == "/down";
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame.unwrap();
    }
    match down {
        true => Response::new(long(8192)),
        false => Response::new(text(Bytes::from_static(&[b'x'; 1024]))),
    }
}

fn long(chunks: usize) -> Body {
    let chunk = Bytes::from(b"All work and no play makes Jack a dull boy. ".repeat(1490)).slice(..65_536);
    let frames = futures_util::stream::iter((0..chunks).map(move |_| Ok(Frame::data(chunk.clone()))));
    BodyExt::boxed(StreamBody::new(frames))
}

async fn handshake<S>(stream: S) -> SendRequest<Body>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Opens connections, directly or through the door.
#[derive(Clone)]
struct Dialler {
    door: Option<std::path::PathBuf>,
    address: std::net::SocketAddr,
    tls: tokio_rustls::TlsConnector,
}

impl Dialler {
    async fn dial(&self) -> SendRequest<Body> {
        match &self.door {
            Some(socket) => handshake(UnixStream::connect(socket).await.unwrap()).await,
            None => {
                let stream = TcpStream::connect(self.address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                handshake(self.tls.connect("a.test".try_into().unwrap(), stream).await.unwrap()).await
            }
        }
    }

    fn request(&self, method: &str, path: &str, body: Body) -> Request<Body> {
        let uri = if self.door.is_some() { format!("https://a.test{path}") } else { path.to_owned() };
        Request::builder().method(method).uri(uri).header("host", "a.test").header("user-agent", "bench").body(body).unwrap()
    }
}

async fn exchange(sender: &mut SendRequest<Body>, request: Request<Body>) -> usize {
    sender.ready().await.unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let (mut body, mut bytes) = (answer.into_body(), 0);
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().into_data().map_or(0, |d| d.len());
    }
    bytes
}

/// Requests a second over keep-alive connections.
async fn throughput(dialler: &Dialler) -> f64 {
    let end = Instant::now() + Duration::from_secs(2);
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let dialler = dialler.clone();
            tokio::spawn(async move {
                let mut sender = dialler.dial().await;
                let mut count = 0;
                while Instant::now() < end {
                    exchange(&mut sender, dialler.request("GET", "/", empty())).await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut sum = 0;
    for task in tasks {
        sum += task.await.unwrap();
    }
    f64::from(sum) / 2.0
}

/// Microseconds of each of many requests on one connection, sorted.
async fn latencies(dialler: &Dialler, method: &str, body: &Bytes, count: usize) -> Vec<f64> {
    let mut sender = dialler.dial().await;
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        exchange(&mut sender, dialler.request(method, "/", full(body.clone()))).await;
        all.push(start.elapsed().as_secs_f64() * 1e6);
    }
    all.sort_by(f64::total_cmp);
    all
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn conversation(length: usize) -> Bytes {
    let message = r#"{"role":"user","content":"Please refactor the function `parse_headers` in src/http.rs so that it returns an error instead of panicking, and add a test."},"#;
    Bytes::from(message.repeat(length / message.len() + 1)).slice(..length)
}

#[allow(clippy::print_stdout)]
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let origin = Origin::start(false, answer).await;
    let door = Door::open(&origin);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(&origin.authority).unwrap()).unwrap();
    let tls = rustls::ClientConfig::builder_with_provider(bottle_wire::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let direct = Dialler { door: None, address: origin.address, tls: Arc::new(tls).into() };
    let through = Dialler { door: Some(door.socket.clone()), ..direct.clone() };
    // An answer of any kind says that it has started.
    let mut refused = handshake(UnixStream::connect(&door.socket).await.unwrap()).await;
    let request = Request::get("https://unlisted.example/").header("host", "unlisted.example").body(empty()).unwrap();
    assert_eq!(refused.send_request(request).await.unwrap().status(), 403);
    println!("P9 idle: {} KiB PSS", door.memory("smaps_rollup", "Pss:"));
    exchange(&mut through.dial().await, through.request("GET", "/", empty())).await;
    println!("   after one request: {} KiB PSS", door.memory("smaps_rollup", "Pss:"));
    exchange(&mut through.dial().await, through.request("POST", "/", full(conversation(100_000)))).await;
    println!("   after one POST: {} KiB PSS", door.memory("smaps_rollup", "Pss:"));

    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        rates[0].push(throughput(&direct).await);
        rates[1].push(throughput(&through).await);
    }
    let [direct_rate, door_rate] = rates.map(median);
    println!("P3 requests/s: direct {direct_rate:.0}, door {door_rate:.0}, ratio {:.2}", door_rate / direct_rate);

    for (row, method, body, count) in [("P5 GET", "GET", Bytes::new(), 4000), ("P6 POST of 100 KB", "POST", conversation(100_000), 500)] {
        let mut p50 = [Vec::new(), Vec::new()];
        let mut p99 = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (i, dialler) in [&direct, &through].into_iter().enumerate() {
                let all = latencies(dialler, method, &body, count).await;
                p50[i].push(all[count / 2]);
                p99[i].push(all[count * 99 / 100]);
            }
        }
        let ([d50, t50], [d99, t99]) = (p50.map(median), p99.map(median));
        println!("{row}: p50 {d50:.0} to {t50:.0} µs (+{:.0}), p99 {d99:.0} to {t99:.0} µs (+{:.0})", t50 - d50, t99 - d99);
    }
    println!("   after these: {} KiB PSS, {} KiB peak", door.memory("smaps_rollup", "Pss:"), door.memory("status", "VmHWM:"));

    for (row, path, body) in [("up", "/up", long as fn(usize) -> Body), ("down", "/down", (|_| empty()) as fn(usize) -> Body)] {
        let mut speeds = [Vec::new(), Vec::new()];
        for _ in 0..3 {
            for (i, dialler) in [&direct, &through].into_iter().enumerate() {
                let mut sender = dialler.dial().await;
                let start = Instant::now();
                exchange(&mut sender, dialler.request("POST", path, body(8192))).await;
                speeds[i].push(512.0 / start.elapsed().as_secs_f64());
            }
        }
        let [d, t] = speeds.map(median);
        println!("P8 {row}: direct {d:.0} MiB/s, door {t:.0} MiB/s, {} KiB peak", door.memory("status", "VmHWM:"));
    }

    let scanner = bottle_scan::Scanner::new(bottle_scan::Fingerprints::of([7; 32], &[support::SECRET.as_bytes()])).unwrap();
    let (mut stream, start, mut body) = (scanner.stream(), Instant::now(), long(2048));
    while let Some(frame) = body.frame().await {
        assert_eq!(stream.push(frame.unwrap().data_ref().unwrap()), None);
    }
    println!("   the scanner alone, on the same text: {:.0} MiB/s", 128.0 / start.elapsed().as_secs_f64());

    let sink = Origin::raw(|mut stream| async move {
        let mut room = [0; 64];
        let _ = stream.read(&mut room).await;
    })
    .await;
    let door = Door::open(&sink);
    let mut tunnels = Vec::new();
    let mut before = 0;
    for number in 0..=200 {
        let mut stream = UnixStream::connect(&door.socket).await.unwrap();
        stream.write_all(b"CONNECT a.test:22 HTTP/1.1\r\nHost: a.test:22\r\n\r\n").await.unwrap();
        let mut room = [0; 512];
        assert!(stream.read(&mut room).await.unwrap() > 0);
        tunnels.push(stream);
        if number == 0 {
            before = door.memory("smaps_rollup", "Pss:");
        }
    }
    println!("P9 idle tunnel: {} KiB", (door.memory("smaps_rollup", "Pss:") - before) / 200);
}
