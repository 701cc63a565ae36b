//! `bottle demo`, as it is installed: what it shows, and that it does not pass when a step does not end as promised.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bottle_test_support::bottle::Bottle;
use bottle_test_support::run::Ended;
use bottle_test_support::warden::Ending;
use rstest::rstest;
use tempfile::TempDir;

use crate::life::support::{User, program, send};

/// Where `make install PREFIX=…` puts what the demonstration is made of; `origin` is a shell script instead of the origin's program, and
/// finds that as `$ORIGIN`.
struct Staged(TempDir);

impl Staged {
    fn new(origin: Option<&str>) -> Self {
        let prefix = tempfile::Builder::new().prefix("bottle-prefix-").tempdir().unwrap();
        let (bin, libexec) = (prefix.path().join("bin"), prefix.path().join("libexec/bottle"));
        fs::create_dir(&bin).unwrap();
        fs::create_dir_all(&libexec).unwrap();
        fs::set_permissions(prefix.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let built = |name: &str| program().with_file_name(name);
        fs::copy(program(), bin.join("bottle")).unwrap();
        for name in ["bottle-egress", "bottle-pipelock", "bottle-demo-origin"] {
            fs::copy(built(name), libexec.join(name)).unwrap();
        }
        if let Some(script) = origin {
            let (program, own) = (libexec.join("bottle-demo-origin"), libexec.join("own"));
            fs::rename(&program, &own).unwrap();
            fs::write(&program, format!("#!/bin/sh\nORIGIN={}\n{script}\n", own.display())).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self(prefix)
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("bin/bottle")
    }

    fn libexec(&self) -> PathBuf {
        self.0.path().join("libexec/bottle")
    }

    fn bottle(&self, user: User) -> Bottle {
        let bottle = Bottle::new(self.program()).replacing(&self.0.path().to_string_lossy(), "[PREFIX]");
        match user {
            User::Caller => bottle,
            User::Ordinary => bottle.as_user(4000),
        }
    }
}

/// Numbers, hashes, tokens and stars differ from run to run; how many there are does not count.
fn normal(text: &str) -> String {
    let mut shown = String::new();
    for word in text.split_inclusive([' ', '\n']) {
        let (bare, end) = word.split_at(word.trim_end().len());
        shown += match bare {
            _ if bare.starts_with("(demo-") => "(TOKEN…),",
            _ if bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) => "HASH",
            _ if bare.trim_end_matches('"').ends_with("**") => "STARS",
            _ if bare.starts_with("\"AKIA") => "KEY",
            _ if bare.starts_with("aWQ9QUtJQ") => "ENCODED",
            _ if !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit()) => "N",
            _ => bare,
        };
        shown += end;
    }
    shown
}

/// The nine steps.
const STEPS: &str = r#"
1. an allowed request, with a token that this agent never saw
   $ curl https://api.demo.test/echo
   -> answered; what the origin echoes of the token is blotted out: "authorization","Bearer STARS

2. a host that no route names
   $ curl https://exfiltrate.example/
   -> refused: host_not_listed

3. a path that the route does not allow
   $ curl https://api.demo.test/admin
   -> refused: path_not_allowed

4. a stolen key in an allowed request
   $ curl https://api.demo.test/echo --data {"note": KEY
   -> refused: secret_detected

5. the same key, hidden in base64
   $ curl https://api.demo.test/echo --data ENCODED
   -> refused: secret_detected

6. the cloud metadata service
   $ curl http://169.254.169.254/latest/meta-data/
   -> refused: host_not_listed

7. the network, past the proxy
   $ curl --noproxy "*" http://192.0.2.1/
   -> no route: this network has N device, lo, and N routes

8. a credential in the environment or a file
   -> N variables that look like one; the home has N files; ~/.ssh of the host is not here

9. the host: its processes, its files
   -> N processes to see, all of this bottle; writing to /usr: Read-only file system

"#;

/// What follows when all is well.
const SEEN: &str = "What the other side saw:
   -> the origin got the real token (TOKEN…), and N request in all
   -> the record of it: whole: N records, last hash HASH

Nothing of it is left. Next: `bottle doctor` checks this machine, and `bottle start claude` in a repository starts an agent.
";

fn shown(ended: Ended) -> (Ending, String, String) {
    (ended.ending, normal(&ended.stdout), ended.stderr)
}

// covers: W34
#[rstest]
fn the_installed_program_shows_the_demonstration(#[values(User::Caller, User::Ordinary)] user: User) {
    let staged = Staged::new(None);
    let ended = staged.bottle(user).run(["demo"]);
    assert_eq!(shown(ended), (Ending::Code(0), format!("{STEPS}{SEEN}"), String::new()));
}

#[rstest]
fn what_the_operator_has_and_wants_does_not_change_the_demonstration(#[values(User::Caller, User::Ordinary)] user: User) {
    let staged = Staged::new(None);
    let bottle = staged
        .bottle(user)
        .bottle("demo", "env:\n  OWN: own")
        .agent("demo", "bottle: demo\ncommand: [/bin/false]", "")
        .env("DEMO_TOKEN", "the operators own")
        .env("BOTTLE_BACKEND", "compose")
        .env("BOTTLE_HOME", "/nowhere")
        .env("https_proxy", "http://127.0.0.1:1");
    assert_eq!(shown(bottle.run(["demo"])), (Ending::Code(0), format!("{STEPS}{SEEN}"), String::new()));
}

#[test]
fn an_origin_that_is_not_reached_fails_the_first_step() {
    // It says that it is somewhere else.
    let staged = Staged::new(Some(r#""$ORIGIN" | /bin/sed -u 's/127\.0\.0\.1:[0-9]*/127.0.0.1:1/'"#));
    let (ending, stdout, stderr) = shown(staged.bottle(User::Caller).run(["demo"]));
    assert_eq!((ending, stderr.as_str()), (Ending::Code(1), ""));
    let answered = r#"answered; what the origin echoes of the token is blotted out: "authorization","Bearer STARS"#;
    let steps = STEPS.replace(answered, "NOT AS PROMISED: no answer of the origin: upstream_unreachable");
    let seen = "What the other side saw:
   -> NOT AS PROMISED: the origin got N requests, N of them with the real token; one `GET /echo` was allowed
   -> the record of it: whole: N records, last hash HASH
";
    assert_eq!(stdout, format!("{steps}{seen}"));
}

#[test]
fn an_origin_that_gets_another_token_fails_the_demonstration() {
    let staged = Staged::new(Some(r#""$ORIGIN" | /bin/sed -u 's/Bearer demo-/Bearer made-up-/'"#));
    let (ending, stdout, stderr) = shown(staged.bottle(User::Caller).run(["demo"]));
    assert_eq!((ending, stderr.as_str()), (Ending::Code(1), ""));
    let seen = "What the other side saw:
   -> NOT AS PROMISED: the origin got N requests, N of them with the real token; one `GET /echo` was allowed
   -> the record of it: whole: N records, last hash HASH
";
    assert_eq!(stdout, format!("{STEPS}{seen}"));
}

#[test]
fn an_origin_that_does_not_start_or_is_missing_is_an_error_of_three_lines() {
    let staged = Staged::new(Some("exit 3"));
    let said = "error: the demonstration's origin did not start\ncause: it exited at once\n\
                hint:  run `bottle-demo-origin` by itself to see why; `make install` installs it\n";
    staged.bottle(User::Caller).run(["demo"]).expect(125, "", said);
    fs::remove_file(staged.libexec().join("bottle-demo-origin")).unwrap();
    let ended = staged.bottle(User::Caller).run(["demo"]);
    let said = "error: the program of `demo-origin` is not installed\n\
                cause: [PREFIX]/bin/../libexec/bottle/bottle-demo-origin: No such file or directory (os error 2); \
                [PREFIX]/bin/bottle-demo-origin: No such file or directory (os error 2)\n\
                hint:  run `make build`, or set BOTTLE_LIBEXEC to the directory that has `bottle-demo-origin`\n";
    ended.expect(125, "", said);
}

#[test]
fn a_demonstration_that_is_interrupted_leaves_nothing() {
    // Nobody accepts there, so that the script waits for an answer.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let staged = Staged::new(Some(&format!(r#""$ORIGIN" | /bin/sed -u 's/127\.0\.0\.1:[0-9]*/{address}/'"#)));
    let bottle = staged.bottle(User::Caller);
    let run = bottle.start(["demo"]);
    run.said("1. an allowed request");
    send(run.pid(), libc::SIGINT);
    let ended = run.end();
    assert_eq!(ended.ending, Ending::Code(130), "{}{}", ended.stdout, ended.stderr);
}

/// The script with a `curl` that gets through everywhere and a host that lets it write: every step says so.
#[test]
fn each_step_of_the_script_notices_when_it_succeeds() {
    let directory = tempfile::tempdir().unwrap();
    let shim = |name: &str, script: &str| {
        let path = directory.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    shim("curl", r#"echo '{"headers":[["authorization","Bearer demo-real"]]}'"#);
    shim("touch", "exit 0");
    let home = directory.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("key"), "x").unwrap();
    let output = Command::new("/bin/sh")
        .args(["-c", include_str!("../../src/commands/demo/agent.sh"), "demo"])
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", directory.path().display()))
        .env("HOME", &home)
        .env("MY_SECRET", "x")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let outcomes: Vec<&str> = stdout.lines().filter_map(|line| line.strip_prefix("   -> ")).collect();
    assert_eq!(
        outcomes,
        [
            "NOT AS PROMISED: the origin echoes the token, and this agent can read it",
            "NOT AS PROMISED: wanted host_not_listed, got an answer",
            "NOT AS PROMISED: wanted path_not_allowed, got an answer",
            "NOT AS PROMISED: wanted secret_detected, got an answer",
            "NOT AS PROMISED: wanted secret_detected, got an answer",
            "NOT AS PROMISED: wanted host_not_listed, got an answer",
            "NOT AS PROMISED: it got out",
            "NOT AS PROMISED: 1 variables look like one; the home has 1 files",
            "NOT AS PROMISED: this agent can write to /usr",
        ]
    );
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(1), ""));
    assert!(!Path::new("/usr/x").exists());
}
