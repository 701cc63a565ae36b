//! A running `bottle-egress`, started as the supervisor starts it, between a scripted agent and a stub of `pipelock`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bottle_contract::egress::EgressConfig;
use bottle_contract::event::Event;
use bottle_contract::handoff;
use bottle_contract::pipelock::Limits;
use bottle_contract::reason::Refusal;
use command_fds::{CommandFdExt, FdMapping};
use serde_json::{Value, json};

/// How long anything may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The real credential of every route that has one.
pub(crate) const TOKEN: &str = "r3al-t0ken-of-the-operator";

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_bottle-egress");

/// A request as it arrived on the link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// `GET https://a.test/x HTTP/1.1`.
    pub(crate) line: String,
    /// In the order sent, names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    /// The body, chunked coding undone.
    pub(crate) body: Vec<u8>,
}

impl Arrived {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Writes an answer to a request; what it returns says whether the connection goes on.
type Script = dyn Fn(&Arrived, &mut UnixStream) -> bool + Send + Sync;

/// The other end of the link.
pub(crate) struct Stub {
    pub(crate) socket: PathBuf,
    arrived: Arc<(Mutex<Vec<Arrived>>, Condvar)>,
    pub(crate) connections: Arc<Mutex<usize>>,
}

impl Stub {
    fn new(directory: &Path, script: Arc<Script>) -> Self {
        let socket = directory.join("pipelock.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let arrived: Arc<(Mutex<Vec<Arrived>>, Condvar)> = Arc::default();
        let connections = Arc::new(Mutex::new(0));
        let (log, count) = (arrived.clone(), connections.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, script, log) = (stream.unwrap(), script.clone(), log.clone());
                *count.lock().unwrap() += 1;
                std::thread::spawn(move || serve(stream, &*script, &log));
            }
        });
        Self { socket, arrived, connections }
    }

    /// What has arrived so far.
    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.arrived.0.lock().unwrap().clone()
    }

    /// The last request, which must have arrived.
    pub(crate) fn last(&self) -> Arrived {
        self.arrived().pop().expect("nothing arrived on the link")
    }
}

fn serve(mut stream: UnixStream, script: &Script, log: &(Mutex<Vec<Arrived>>, Condvar)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(arrived) = read_request(&mut reader) {
        log.0.lock().unwrap().push(arrived.clone());
        log.1.notify_all();
        if !script(&arrived, &mut stream) {
            return;
        }
    }
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    (reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end_matches("\r\n").to_owned())
}

pub(crate) fn read_request(reader: &mut impl BufRead) -> Option<Arrived> {
    let mut arrived = Arrived { line: line(reader)?, ..Arrived::default() };
    loop {
        let field = line(reader)?;
        let Some((name, value)) = field.split_once(':') else { break };
        arrived.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if arrived.field("transfer-encoding").is_some() {
        loop {
            let size = usize::from_str_radix(&line(reader)?, 16).ok()?;
            let mut chunk = vec![0; size];
            reader.read_exact(&mut chunk).ok()?;
            arrived.body.extend(chunk);
            line(reader)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = arrived.field("content-length") {
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).ok()?;
        arrived.body = body;
    }
    Some(arrived)
}

/// A whole answer.
pub(crate) fn answer(status: &str, fields: &[(&str, &str)], body: &str) -> String {
    let fields: String = fields.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n{body}", body.len())
}

/// A script that always says the same.
pub(crate) fn always(text: String) -> Arc<Script> {
    Arc::new(move |_, stream| stream.write_all(text.as_bytes()).is_ok())
}

/// A script of one's own.
pub(crate) fn script(f: impl Fn(&Arrived, &mut UnixStream) -> bool + Send + Sync + 'static) -> Arc<Script> {
    Arc::new(f)
}

/// What the supervisor gives to the sidecar.
pub(crate) struct Bottle {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) stub: Stub,
    pub(crate) limits: Limits,
}

/// A running sidecar.
pub(crate) struct Egress {
    pub(crate) bottle: Bottle,
    pub(crate) address: SocketAddr,
    pub(crate) child: Child,
    events: Arc<(Mutex<Vec<Event>>, Condvar)>,
}

pub(crate) fn route(host: &str) -> Value {
    json!({ "host": host, "ports": [443, 80] })
}

pub(crate) fn with_token(host: &str) -> Value {
    json!({ "host": host, "ports": [443, 80], "auth": { "header": "authorization", "scheme": "Bearer", "slot": "EGRESS_TOKEN_0" } })
}

impl Bottle {
    pub(crate) fn new(script: Arc<Script>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["config", "secrets", "ca", "link"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let stub = Stub::new(&directory.path().join("link"), script);
        let bottle = Self { directory, stub, limits: Limits::default() };
        bottle.write("secrets/EGRESS_TOKEN_0", &format!("{TOKEN}\n"));
        let (certificate, key) = authority();
        bottle.write("ca/cert.pem", &certificate);
        bottle.write("ca/key.pem", &key);
        bottle
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, path).unwrap();
    }

    /// The configuration with these routes.
    pub(crate) fn config(&self, generation: u64, routes: &[Value]) -> String {
        let upstream = json!({ "link": { "socket": self.stub.socket } });
        self.config_with(generation, routes, upstream)
    }

    pub(crate) fn config_with(&self, generation: u64, routes: &[Value], upstream: Value) -> String {
        let config = json!({
            "bottle": "test", "generation": generation, "routes": routes, "upstream": upstream,
            "limits": serde_json::to_value(self.limits).unwrap(),
        });
        serde_json::from_value::<EgressConfig>(config.clone()).unwrap();
        config.to_string()
    }

    pub(crate) fn start(self, routes: &[Value]) -> Egress {
        self.write("config/egress.json", &self.config(1, routes));
        let root = self.directory.path().to_owned();
        self.run(&[BINARY], &root)
    }

    fn command(&self, program: &[&str], root: &Path) -> (Command, SocketAddr, std::io::PipeReader) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (ready, says) = std::io::pipe().unwrap();
        let mut command = Command::new(program[0]);
        command.args(&program[1..]);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.envs(handoff::environment(&["agent"], 0).into_iter().filter(|(name, _)| name != "LISTEN_PID"));
        for (option, name) in [("--config", "config"), ("--secrets", "secrets"), ("--ca", "ca")] {
            command.arg(option).arg(root.join(name));
        }
        let mapping = |parent_fd: OwnedFd, child_fd| FdMapping { parent_fd, child_fd };
        command.fd_mappings(vec![mapping(listener.into(), 3), mapping(says.into(), 4)]).unwrap();
        (command, address, ready)
    }

    /// Starts the binary, which must fail: what it said on the ready descriptor and on standard error, and its code.
    pub(crate) fn fail(self) -> (Vec<u8>, String, Option<i32>) {
        let (mut command, _, mut ready) = self.command(&[BINARY], self.directory.path());
        let child = command.spawn().unwrap();
        drop(command);
        let mut said = Vec::new();
        ready.read_to_end(&mut said).unwrap();
        let output = child.wait_with_output().unwrap();
        (said, String::from_utf8(output.stderr).unwrap().replace("\\\"", "\""), output.status.code())
    }

    /// Starts the binary, or `program` which becomes it and sees the bottle's directory as `root`, with the listener on
    /// descriptor 3 and the ready descriptor on 4.
    pub(crate) fn run(self, program: &[&str], root: &Path) -> Egress {
        let (mut command, address, mut ready) = self.command(program, root);
        let mut child = command.spawn().unwrap();
        drop(command);
        let events = follow(child.stderr.take().unwrap());
        let mut said = Vec::new();
        ready.by_ref().take(handoff::READY.len() as u64).read_to_end(&mut said).unwrap();
        let egress = Egress { bottle: self, address, child, events };
        assert_eq!(said, handoff::READY, "{:#?}", egress.events());
        egress
    }
}

/// Reads events; a line that is none fails the test that waits for it.
fn follow(stderr: std::process::ChildStderr) -> Arc<(Mutex<Vec<Event>>, Condvar)> {
    let events: Arc<(Mutex<Vec<Event>>, Condvar)> = Arc::default();
    let log = events.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines() {
            let event = serde_json::from_str(&line.unwrap()).expect("each line is one event");
            log.0.lock().unwrap().push(event);
            log.1.notify_all();
        }
    });
    events
}

impl Egress {
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.0.lock().unwrap().clone()
    }

    /// Waits for an event.
    pub(crate) fn event(&self, wanted: impl Fn(&Event) -> bool) -> Event {
        let end = Instant::now() + DEADLINE;
        let mut events = self.events.0.lock().unwrap();
        loop {
            if let Some(event) = events.iter().find(|event| wanted(event)) {
                return event.clone();
            }
            let left = end.checked_duration_since(Instant::now()).unwrap_or_else(|| panic!("no such event among {events:#?}"));
            events = self.events.1.wait_timeout(events, left).unwrap().0;
        }
    }

    pub(crate) fn stub(&self) -> &Stub {
        &self.bottle.stub
    }

    /// Runs curl through the proxy, trusting its authority.
    pub(crate) fn curl(&self, arguments: &[&str]) -> Output {
        let proxy = format!("http://{}", self.address);
        Command::new("curl")
            .env_clear()
            .args(["-sS", "-q", "--max-time", "20", "--proxy", &proxy, "--cacert"])
            .arg(self.bottle.path("ca/cert.pem"))
            .args(arguments)
            .output()
            .expect("curl is needed by this test")
    }

    /// What curl prints, if it succeeds.
    pub(crate) fn fetch(&self, arguments: &[&str]) -> String {
        let output = self.curl(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The status and the refusal that curl gets.
    pub(crate) fn refusal(&self, arguments: &[&str]) -> (String, Refusal) {
        let text = self.fetch(&[&["-w", "%{http_code}"], arguments].concat());
        let (page, status) = text.rsplit_once('\n').unwrap();
        (status.to_owned(), serde_json::from_str(page).unwrap_or_else(|_| panic!("no refusal: {text}")))
    }

    pub(crate) fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Replaces the configuration, as the supervisor does, and waits for what the sidecar makes of it.
    pub(crate) fn reload(&self, text: &str) -> Event {
        let before = self.events().len();
        self.bottle.write("config/egress.json", text);
        self.signal(rustix::process::Signal::HUP);
        let end = Instant::now() + DEADLINE;
        let mut events = self.events.0.lock().unwrap();
        loop {
            if let Some(event) = events[before..].iter().find(|event| event.event.starts_with("reload")) {
                return event.clone();
            }
            let left = end.checked_duration_since(Instant::now()).expect("no reload in time");
            events = self.events.1.wait_timeout(events, left).unwrap().0;
        }
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate authority as the supervisor makes it.
pub(crate) fn authority() -> (String, String) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData};
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "bottle test");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(1);
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(7);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, key.der_bytes());
    params.key_identifier_method = KeyIdMethod::PreSpecified(digest.as_ref().to_vec());
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}
