//! A running `bottle-supervise`, started as the supervisor starts it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bottle_contract::handoff;
use bottle_contract::supervise::{FILE, FromClient, Reply, SuperviseConfig, ToClient, ToSupervisor};
use command_fds::{CommandFdExt, FdMapping};
use serde_json::Value;

/// How long anything may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Supervise {
    child: Child,
    pub(crate) agent: SocketAddr,
    pub(crate) link: PathBuf,
    /// The supervisor's end.
    pub(crate) supervisor: Supervisor,
    _directory: tempfile::TempDir,
}

/// The far end of the inherited connection.
pub(crate) struct Supervisor {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Supervisor {
    /// What a client says next.
    pub(crate) fn heard(&mut self) -> FromClient {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("supervise says something in time");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// The same, of the kind that is not a client's leaving.
    pub(crate) fn asked(&mut self) -> FromClient {
        loop {
            let heard = self.heard();
            if heard.says != ToSupervisor::Left {
                return heard;
            }
        }
    }

    pub(crate) fn tell(&mut self, client: u64, hears: Reply) {
        let line = serde_json::to_string(&ToClient { client, hears }).unwrap();
        writeln!(self.writer, "{line}").unwrap();
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).unwrap();
    }
}

impl Supervise {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = SuperviseConfig { bottle: "web".into() };
        std::fs::write(directory.path().join(FILE), serde_json::to_vec(&config).unwrap()).unwrap();
        let agent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = agent.local_addr().unwrap();
        let path = directory.path().join("supervise.sock");
        let link = UnixListener::bind(&path).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (ready, ready_theirs) = std::io::pipe().unwrap();
        let fds = [agent.into(), link.into(), theirs.into(), ready_theirs.into()];
        let mappings = fds.into_iter().zip(3..).map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd }).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bottle-supervise"));
        command.arg("--config").arg(directory.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let environment = handoff::environment(&["agent", "link", "supervisor"], 0);
        command.envs(environment.into_iter().filter(|(name, _)| name != "LISTEN_PID"));
        command.fd_mappings(mappings).unwrap();
        let child = command.spawn().unwrap();
        drop(command);
        let mut said = [0; 6];
        let mut ready = ready;
        ready.read_exact(&mut said).expect("it says that it serves");
        assert_eq!(said, *handoff::READY);
        ours.set_read_timeout(Some(DEADLINE)).unwrap();
        let supervisor = Supervisor { reader: BufReader::new(ours.try_clone().unwrap()), writer: ours };
        // Its heartbeats are read by nobody, which it must bear.
        drop(ready);
        Self { child, agent: address, link: path, supervisor, _directory: directory }
    }

    /// How it exited, once it has.
    pub(crate) fn exited(mut self) -> Option<i32> {
        let deadline = std::time::Instant::now() + DEADLINE;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status.code(),
                None if std::time::Instant::now() > deadline => panic!("it still runs"),
                None => std::thread::yield_now(),
            }
        }
    }
}

impl Drop for Supervise {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Fields of a POST that is answered.
pub(crate) const PLAIN: &[(&str, &str)] =
    &[("host", "supervise:9100"), ("content-type", "application/json"), ("accept", "application/json, text/event-stream")];

/// Opens a connection and sends a request.
pub(crate) fn send(address: SocketAddr, method: &str, fields: &[(&str, &str)], body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    write!(stream, "{method} / HTTP/1.1\r\n{fields}{length}connection: close\r\n\r\n{body}").unwrap();
    stream
}

/// Reads what comes up to `mark`, and perhaps more.
pub(crate) fn read_until(stream: &mut TcpStream, mark: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(mark) {
        let count = stream.read(&mut buffer).expect("more in time");
        assert!(count > 0, "the response ended: {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    text
}

/// Reads the response to its end.
pub(crate) fn receive(stream: TcpStream) -> Response {
    receive_after(String::new(), stream)
}

/// The same, of which the beginning was read.
pub(crate) fn receive_after(mut text: String, mut stream: TcpStream) -> Response {
    stream.read_to_string(&mut text).expect("a response in time");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head}"));
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
    Response { status, head: head.to_ascii_lowercase(), body }
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, data)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        body.push_str(&data[..size]);
        rest = &data[size + 2..];
    }
    body
}

/// A POST with a JSON body.
pub(crate) fn post(address: SocketAddr, extra: &[(&str, &str)], body: &str) -> Response {
    receive(send(address, "POST", &[PLAIN, extra].concat(), body))
}
