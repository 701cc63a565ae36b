//! The far end as real clients see it: each speaks to it directly, or through its relay under the names it serves.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use bottle_test_support::deadline::wait_until;
use bottle_test_support::origin::{Connection, Origin, Request};
use bottle_test_support::tools::tool;
use serde_json::{Value, json};
use tempfile::TempDir;

const TIMEOUT: Duration = Duration::from_secs(30);

fn origin(arguments: &[&str]) -> Origin {
    Origin::spawn(Path::new(env!("CARGO_BIN_EXE_bottle-origin")), arguments).expect("the origin starts")
}

/// A command with a home of its own and nothing of the caller's environment but `PATH`.
fn client(program: &str, home: &TempDir) -> Option<Command> {
    let mut command = Command::new(tool(program)?);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home.path()).stdin(Stdio::null());
    command.current_dir(home.path());
    Some(command)
}

/// curl that trusts the origin and finds every name there.
fn curl(origin: &Origin, home: &TempDir) -> Option<Command> {
    let mut command = client("curl", home)?;
    command.args(["--silent", "--show-error", "--max-time", "30", "--cacert"]).arg(&origin.ready().ca);
    command.arg("--connect-to").arg(format!(":443:{}", origin.ready().https));
    command.arg("--connect-to").arg(format!(":80:{}", origin.ready().http));
    Some(command)
}

fn said(output: Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn fetch(origin: &Origin, arguments: &[&str]) -> Option<String> {
    let home = tempfile::tempdir().unwrap();
    Some(said(curl(origin, &home)?.args(arguments).output().unwrap()))
}

/// What the echo answers to `request`.
fn echoed(request: &Request, body: &str) -> Value {
    let mut value = json!(request);
    value["body"] = body.into();
    value
}

#[test]
fn what_is_recorded_is_what_the_client_sent() {
    let origin = origin(&[]);
    for (flag, version, host) in [("--http1.1", "HTTP/1.1", "echo.test"), ("--http2", "HTTP/2.0", "other.test")] {
        let before = origin.requests().len();
        let url = format!("https://{host}/echo?x=1");
        let Some(answer) = fetch(&origin, &[flag, "-H", "user-agent: t", "-H", "x-two: a", "-d", "grün", &url]) else { return };
        let request = origin.requests().pop().unwrap();
        let expected = Request {
            n: before as u64 + 1,
            connection: request.connection,
            server_name: Some(host.into()),
            scheme: "https".into(),
            version: version.into(),
            method: "POST".into(),
            target: if version == "HTTP/2.0" { url } else { "/echo?x=1".into() },
            host: Some(host.into()),
            headers: request.headers.clone(),
            trailers: vec![],
            // printf 'grün' | sha256sum
            body_sha256: "fe263064ba02eaeac482aaf1309553779bdb78e385cb1374654de293e191d785".into(),
            body_len: 5,
            body_head: "grün".into(),
            complete: true,
        };
        assert_eq!(request, expected);
        assert_eq!((request.header("user-agent"), request.header("x-two")), (Some("t"), Some("a")));
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), echoed(&request, "grün"));
    }
}

#[test]
fn plain_http_is_recorded_as_such() {
    let origin = origin(&[]);
    let Some(_) = fetch(&origin, &["http://echo.test/anything"]) else { return };
    let request = &origin.requests()[0];
    assert_eq!((&*request.scheme, &*request.target, &request.server_name), ("http", "/anything", &None));
}

#[test]
fn a_path_chooses_the_answer() {
    let origin = origin(&[]);
    let status = ["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"];
    for (url, expected) in [
        ("https://echo.test/status/418", "418 "),
        ("https://echo.test/status/204", "204 "),
        ("https://echo.test/status/99", "400 "),
        ("https://echo.test/redirect?to=https%3A%2F%2Fother.test%2Fx&status=307", "307 https://other.test/x"),
        ("https://echo.test/slow?head=10&n=3&every=1", "200 "),
    ] {
        let Some(answer) = fetch(&origin, &[&status[..], &[url]].concat()) else { return };
        assert_eq!(answer, expected, "{url}");
    }
    assert_eq!(fetch(&origin, &["https://echo.test/slow?n=3"]).unwrap(), "...");
    assert_eq!(fetch(&origin, &["https://echo.test/1k"]).unwrap(), "k".repeat(1024));
    let reflected = fetch(&origin, &["-i", "-H", "authorization: Bearer abc", "https://echo.test/reflect-token"]).unwrap();
    assert!(reflected.contains("x-reflected-authorization: Bearer abc\r\n") && reflected.ends_with("\r\n\r\nBearer abc"), "{reflected}");
    let gzip: Value = serde_json::from_str(&fetch(&origin, &["--compressed", "https://echo.test/gzip"]).unwrap()).unwrap();
    assert_eq!(gzip["target"], "https://echo.test/gzip");
    let trailers = fetch(&origin, &["--http1.1", "-i", "-H", "te: trailers", "https://echo.test/trailers"]).unwrap();
    assert!(trailers.contains("trailer: x-checksum, authorization\r\n"), "{trailers}");
}

#[test]
fn a_download_is_the_pattern_and_an_upload_is_counted() {
    let origin = origin(&[]);
    let home = tempfile::tempdir().unwrap();
    let Some(mut command) = curl(&origin, &home) else { return };
    let download = command.arg("https://echo.test/bytes/1000000").output().unwrap().stdout;
    assert!(download.iter().enumerate().all(|(i, byte)| *byte == (i % 251) as u8));
    assert_eq!(download.len(), 1_000_000);

    std::fs::write(home.path().join("body"), &download).unwrap();
    let upload = said(curl(&origin, &home).unwrap().args(["-T", "body", "https://echo.test/upload"]).output().unwrap());
    let request = origin.requests().pop().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&upload).unwrap(), json!({"bytes": 1_000_000, "sha256": request.body_sha256}));
}

#[test]
fn an_event_goes_when_the_test_lets_it() {
    let mut origin = origin(&[]);
    let home = tempfile::tempdir().unwrap();
    let Some(mut command) = curl(&origin, &home) else { return };
    let mut child = command.args(["--no-buffer", "https://echo.test/sse?n=2&release=a"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    origin.wait_for(1, TIMEOUT);
    for i in 1..=2 {
        origin.release("a", 1).unwrap();
        let event: Vec<String> = lines.by_ref().take(4).collect();
        assert_eq!(event, [&format!("id: {i}"), "event: tick", &format!("data: {{\"i\":{i}}}"), ""]);
        assert!(i == 2 || child.try_wait().unwrap().is_none(), "the stream ended early");
    }
    assert!(child.wait().unwrap().success());
}

#[test]
fn python_and_node_fetch_through_their_own_tls() {
    let origin = origin(&[]);
    let home = tempfile::tempdir().unwrap();
    let (ready, ca) = (origin.ready(), origin.ready().ca.clone());
    if let Some(mut python) = client("python3", &home) {
        let script = "import urllib.request; print(urllib.request.urlopen('https://echo.test/status/200').read().decode(), end='')";
        python.env("HTTPS_PROXY", format!("http://{}", ready.relay)).env("SSL_CERT_FILE", &ca).args(["-c", script]);
        assert_eq!(said(python.output().unwrap()), "OK\n");
    }
    if let Some(mut node) = client("node", &home) {
        let script = format!("fetch('https://{}/status/200').then(r => r.text()).then(t => process.stdout.write(t))", ready.https);
        node.env("NODE_EXTRA_CA_CERTS", &ca).args(["-e", &script]);
        assert_eq!(said(node.output().unwrap()), "OK\n");
    }
    let names: Vec<_> = origin.requests().into_iter().map(|request| request.server_name).collect();
    assert_eq!(names, [Some("echo.test".to_owned()), None][..names.len()]);
}

#[test]
fn pip_downloads_a_wheel_whose_digest_holds() {
    let origin = origin(&[]);
    let home = tempfile::tempdir().unwrap();
    let Some(mut python) = client("python3", &home) else { return };
    python.args(["-m", "pip", "--isolated", "--disable-pip-version-check", "--no-cache-dir", "download", "--quiet", "--no-deps"]);
    python.args(["--index-url", "https://pypi.test/simple/", "--proxy", &format!("http://{}", origin.ready().relay), "--cert"]);
    said(python.arg(&origin.ready().ca).args(["bottle-sample==1.0"]).output().unwrap());
    let hosts: Vec<_> = origin.requests().into_iter().map(|request| (request.host.unwrap(), request.target)).collect();
    let expected = [("pypi.test", "/simple/bottle-sample/"), ("files.pythonhosted.test", "/packages/bottle_sample-1.0-py3-none-any.whl")];
    assert_eq!(hosts, expected.map(|(host, target)| (host.to_owned(), target.to_owned())));
    let import = client("python3", &home)
        .unwrap()
        .env("PYTHONPATH", "bottle_sample-1.0-py3-none-any.whl")
        .args(["-c", "import bottle_sample; print(bottle_sample.answer())"])
        .output();
    assert_eq!(said(import.unwrap()), "42\n");
}

#[test]
fn npm_installs_a_plain_and_a_scoped_package() {
    let origin = origin(&[]);
    let home = tempfile::tempdir().unwrap();
    let npm = |arguments: &[&str]| {
        let mut npm = client("npm", &home)?;
        npm.env("HTTPS_PROXY", format!("http://{}", origin.ready().relay)).env("NODE_EXTRA_CA_CERTS", &origin.ready().ca);
        npm.args(["--registry", "https://registry.npmjs.test/", "--no-audit", "--no-fund", "--no-update-notifier", "--fetch-retries=0"]);
        npm.args(["--globalconfig", "none", "--cafile"]).arg(&origin.ready().ca);
        Some(said(npm.args(arguments).output().unwrap()))
    };
    let Some(version) = npm(&["view", "bottle-sample", "version"]) else { return };
    assert_eq!(version, "1.0.0\n");
    npm(&["install", "--silent", "--prefix", "there", "bottle-sample", "@bottle/sample"]);
    let script = "process.stdout.write(String(require('bottle-sample')() + require('@bottle/sample')()))";
    let sum = client("node", &home).unwrap().env("NODE_PATH", home.path().join("there/node_modules")).args(["-e", script]).output();
    assert_eq!(said(sum.unwrap()), "84");
}

#[test]
fn git_clones_and_pushes_only_where_it_may() {
    let origin = origin(&[]);
    let home = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let mut git = client("git", &home)?;
        git.env("HTTPS_PROXY", format!("http://{}", origin.ready().relay)).env("GIT_SSL_CAINFO", &origin.ready().ca);
        git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
        git.args(["-c", "user.name=t", "-c", "user.email=t@t.test"]).args(arguments);
        Some(git.output().unwrap())
    };
    let Some(cloned) = git(&["clone", "--quiet", "https://git.test/sample.git", "here"]) else { return };
    said(cloned);
    assert_eq!(said(git(&["-C", "here", "log", "--format=%s"]).unwrap()), "Second\nFirst\n");
    said(git(&["-C", "here", "commit", "--quiet", "--allow-empty", "-m", "Third"]).unwrap());
    let refused = git(&["-C", "here", "push", "--quiet", "origin", "main"]).unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("403"), "{refused:?}");
    said(git(&["-C", "here", "push", "--quiet", "https://git.test/writable/sample.git", "main"]).unwrap());
    let bare = origin.directory().join("git/writable/sample.git");
    assert_eq!(said(git(&["-C", bare.to_str().unwrap(), "log", "-1", "--format=%s", "main"]).unwrap()), "Third\n");
}

#[test]
fn certificates_that_must_be_refused_are_refused_by_a_careful_client() {
    let origin = origin(&[]);
    let home = tempfile::tempdir().unwrap();
    for host in ["expired.test", "wrong-name.test", "self-signed.test"] {
        let Some(mut command) = curl(&origin, &home) else { return };
        // curl(1): 60 is "the peer's certificate cannot be verified".
        assert_eq!(command.arg(format!("https://{host}/")).output().unwrap().status.code(), Some(60), "{host}");
    }
    assert_eq!(origin.requests(), []);
}

#[test]
fn who_knocked_without_a_request_is_recorded() {
    let origin = origin(&[]);
    let mut stream = TcpStream::connect(origin.ready().https).unwrap();
    stream.write_all(b"SSH-2.0-x\r\n").unwrap();
    drop(stream);
    let seen = wait_until(TIMEOUT, || Some(origin.connections()).filter(|connections| !connections.is_empty())).unwrap();
    let failure = seen[0].failure.clone();
    assert!(failure.is_some());
    assert_eq!(seen, [Connection { n: 1, listener: "https".into(), name: None, failure }]);
}

#[test]
fn a_body_that_breaks_off_is_recorded_as_broken() {
    let origin = origin(&[]);
    let mut stream = TcpStream::connect(origin.ready().http).unwrap();
    stream.write_all(b"POST /upload HTTP/1.1\r\nhost: echo.test\r\ncontent-length: 100\r\n\r\nshort").unwrap();
    drop(stream);
    let request = origin.wait_for(1, TIMEOUT).remove(0);
    assert_eq!((request.body_head.as_str(), request.body_len, request.complete), ("short", 5, false));
}

#[test]
fn bodies_and_raw_bytes_are_saved_when_asked_for() {
    let origin = origin(&["--bodies", "--raw"]);
    let message = b"POST /upload HTTP/1.1\r\nhost: echo.test\r\nconnection: close\r\ncontent-length: 5\r\n\r\nwhole";
    let mut stream = TcpStream::connect(origin.ready().http).unwrap();
    stream.write_all(message).unwrap();
    let request = origin.wait_for(1, TIMEOUT).remove(0);
    assert_eq!(std::fs::read(origin.directory().join("bodies/1")).unwrap(), b"whole");
    assert_eq!(std::fs::read(origin.directory().join("raw").join(request.connection.to_string())).unwrap(), message);
}

#[test]
fn a_list_of_hosts_is_all_that_is_served() {
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("a.txt"), "from a file").unwrap();
    let origin = origin(&["--serve", "pypi.test", "--serve", &format!("files.test={}", files.path().display())]);
    let Some(file) = fetch(&origin, &["https://files.test/a.txt"]) else { return };
    assert_eq!(file, "from a file");
    let escape = fetch(&origin, &["--path-as-is", "-w", "%{http_code}", "https://files.test/../a.txt"]).unwrap();
    assert_eq!(escape, "only plain paths\n400");
    let absent = fetch(&origin, &["-w", "%{http_code}", "https://echo.test/"]).unwrap();
    assert_eq!(absent, "this origin does not serve that name\n421");
}

#[test]
fn it_ends_with_its_standard_input_and_on_term() {
    for by_signal in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bottle-origin"));
        let ports = directory.path().join("ports");
        let mut child = command
            .arg("--dir")
            .arg(directory.path())
            .arg("--port-file")
            .arg(&ports)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_until(TIMEOUT, || ports.exists().then_some(())).expect("it serves");
        assert_eq!(std::fs::read(&ports).unwrap(), std::fs::read(directory.path().join("ready.json")).unwrap());
        if by_signal {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        } else {
            drop(child.stdin.take());
        }
        let status = wait_until(TIMEOUT, || child.try_wait().unwrap()).expect("it ends");
        assert_eq!(status.code(), Some(0));
    }
}
