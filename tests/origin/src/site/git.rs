//! Repositories over smart HTTP, by the real `git http-backend` as a CGI program (RFC 3875).

use std::io;
use std::path::Path;
use std::process::Stdio;

use hyper::body::Bytes;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::exchange::Body;
use crate::origin::World;
use crate::site::stream::{bad_gateway, produced};

/// Below this path pushes are taken.
const WRITABLE: &str = "/writable/";

/// A history of two commits, so that a clone has something to negotiate.
const SAMPLE: &str = "\
commit refs/heads/main
committer Origin <origin@git.test> 1700000000 +0000
data 6
First
M 644 inline README
data 7
sample

commit refs/heads/main
committer Origin <origin@git.test> 1700000060 +0000
data 7
Second
M 644 inline src/lib.txt
data 8
library

";

/// Makes `git/sample.git` and `git/writable/sample.git`. Without git there are none, and the site says so when asked.
pub(crate) async fn make_sample(directory: &Path) -> io::Result<()> {
    for name in ["sample.git", "writable/sample.git"] {
        let repository = directory.join("git").join(name);
        if repository.exists() {
            continue;
        }
        let made = git(&repository).args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(&repository).output().await;
        match made {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            made => succeeded(made?)?,
        }
        let mut command = git(&repository);
        command.args(["fast-import", "--quiet"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut import = command.spawn()?;
        if let Some(mut stdin) = import.stdin.take() {
            stdin.write_all(SAMPLE.as_bytes()).await?;
        }
        succeeded(import.wait_with_output().await?)?;
    }
    Ok(())
}

/// Starts the backend for one request; its body is the backend's standard input.
pub(crate) fn start(world: &World, root: Option<&Path>, parts: &Parts) -> io::Result<Child> {
    let root = root.map_or_else(|| world.directory.join("git"), Path::to_path_buf);
    let header = |name: &HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let path = parts.uri.path();
    let mut command = git(&root);
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", header(&CONTENT_TYPE))
        .env("HTTP_CONTENT_ENCODING", header(&CONTENT_ENCODING))
        .env("GIT_PROTOCOL", header(&HeaderName::from_static("git-protocol")))
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("GIT_CONFIG_COUNT", "2")
        .env("GIT_CONFIG_KEY_0", "http.receivepack")
        .env("GIT_CONFIG_VALUE_0", if path.starts_with(WRITABLE) { "true" } else { "false" })
        // A test may serve repositories that another user made.
        .env("GIT_CONFIG_KEY_1", "safe.directory")
        .env("GIT_CONFIG_VALUE_1", "*");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn()
}

/// Turns the backend's output into an answer, its body as it comes.
pub(crate) async fn answer(mut child: Child) -> Response<Body> {
    let Some(stdout) = child.stdout.take() else { return bad_gateway("the backend has no output") };
    let mut output = BufReader::new(stdout);
    let mut response = Response::builder();
    loop {
        let mut line = String::new();
        match output.read_line(&mut line).await {
            Ok(read) if read > 0 => {}
            _ => return bad_gateway("the backend ended within its header"),
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { return bad_gateway("the backend sent no header") };
        if name.eq_ignore_ascii_case("status") {
            let code = value.split_whitespace().next().and_then(|code| code.parse().ok());
            response = response.status(code.unwrap_or(StatusCode::BAD_GATEWAY));
        } else if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value.trim())) {
            response = response.header(name, value);
        }
    }
    let body = produced(async move |mut sender: http_body_util::channel::Sender<Bytes, io::Error>| {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match output.read(&mut buffer).await {
                Ok(0) => break,
                Ok(read) => sender.send_data(Bytes::copy_from_slice(&buffer[..read])).await.map_err(|_| ())?,
                Err(error) => {
                    sender.abort(error);
                    break;
                }
            }
        }
        child.wait().await.map(|_| ()).map_err(|_| ())
    });
    response.body(body).unwrap_or_else(|_| bad_gateway("the backend's header is not HTTP"))
}

/// git with nothing of the caller's configuration.
fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.env_clear().env("GIT_DIR", directory).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

fn succeeded(output: std::process::Output) -> io::Result<()> {
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("git: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)))),
    }
}
