//! Tokens that are in no variable: in a file, printed by a program of the operator's, or in the login of an agent's own program. They are read
//! before anything starts, and never shown.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bottle_contract::Untrusted;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::manifest::token::{Login, TokenSource};
use crate::sys::child;
use crate::{signals, trusted_program};

/// Bytes of a token, with what is around it.
const MAX_BYTES: usize = 64 << 10;
/// How long a program may take to print one.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// Variables of the operator's that the program gets: those that password managers need to find their agents and files.
const VARIABLES: [&str; 12] = [
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "GNUPGHOME",
    "PASSWORD_STORE_DIR",
    "AWS_PROFILE",
    "CLOUDSDK_CONFIG",
];

/// Gets a token. `workspace` is where the agent works: no program from there is run.
pub fn fetch(source: &TokenSource, workspace: &Path) -> Result<Zeroizing<String>> {
    match source {
        TokenSource::Variable => {
            Err(Error::failed("a variable is no file", "it is read elsewhere", "this is a bug in bottle: please report it"))
        }
        TokenSource::File(path) => file(path),
        TokenSource::Command(command) => self::command(command, workspace),
        TokenSource::Login(login) => self::login(login),
    }
}

fn file(path: &Path) -> Result<Zeroizing<String>> {
    let shown = Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string();
    let failed = |cause: String| Error::usage(format!("the token in {shown} cannot be used"), cause, "write the token alone into the file");
    token(&text(path).map_err(|error| failed(error.to_string()))?).map_err(|cause| failed(cause.to_owned()))
}

/// What a file or a program says: a token, or JSON with it.
fn token(text: &str) -> std::result::Result<Zeroizing<String>, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty");
    }
    if !text.starts_with('{') {
        return Ok(Zeroizing::new(text.to_owned()));
    }
    let whole: Value = serde_json::from_str(text).map_err(|_| "it begins as JSON does, and is none")?;
    match whole["token"].as_str() {
        Some(token) if !token.is_empty() => Ok(Zeroizing::new(token.to_owned())),
        _ => Err("its JSON has no `token`"),
    }
}

fn text(path: &Path) -> io::Result<Zeroizing<String>> {
    // A pipe in its place must not make us wait.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES + 1));
    file.take(MAX_BYTES as u64 + 1).read_to_string(&mut text)?;
    if text.len() > MAX_BYTES { Err(io::Error::other("larger than 64 KiB")) } else { Ok(text) }
}

/// The login of a program that has one. It is read and never changed: what renews it is the program itself.
fn login(login: &Login) -> Result<Zeroizing<String>> {
    let name = &login.provider;
    let renew = login.renew.as_ref().map_or_else(|| format!("log in with `{name}` outside of the bottle"), Clone::clone);
    let failed = |cause: String| Error::usage(format!("the login of `{name}` cannot be used"), cause, renew.clone());
    let shown = Untrusted::new(login.file.as_os_str().as_encoded_bytes()).to_string();
    let text = text(&login.file).map_err(|error| failed(format!("{shown}: {error}")))?;
    let whole: Value = serde_json::from_str(&text).map_err(|_| failed(format!("{shown} is not JSON")))?;
    let token = whole.pointer(&login.token).and_then(Value::as_str).filter(|token| !token.is_empty());
    let token = Zeroizing::new(token.ok_or_else(|| failed(format!("{shown} has no {}", login.token)))?.to_owned());
    let ends = login.expires.as_ref().and_then(|pointer| whole.pointer(pointer)).and_then(Value::as_u64).map(since_1970);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match ends {
        Some(ends) if ends <= now => Err(failed(format!("it ended {} minutes ago", (now - ends).as_secs() / 60))),
        _ => Ok(token),
    }
}

/// Milliseconds, or seconds where the number is that small.
fn since_1970(number: u64) -> Duration {
    if number > 100_000_000_000 { Duration::from_millis(number) } else { Duration::from_secs(number) }
}

/// Runs the operator's program: in `/`, with few variables, without a terminal or an input, and not for long.
fn command(command: &[String], workspace: &Path) -> Result<Zeroizing<String>> {
    let name = command.first().map_or("", String::as_str);
    let shown = Untrusted::new(name).to_string();
    let hint = "run it in a terminal: it must print the token alone, or `{\"token\": \"…\"}`";
    let failed = |cause: String| Error::failed(format!("`{shown}` gave no token"), cause, hint);
    let directories = trusted_program::directories(workspace);
    let program = trusted_program::find(name, &directories, workspace)
        .ok_or_else(|| failed("no directory of PATH that is yours alone, and not in the workspace, has it".to_owned()))?;
    let mut child = Command::new(program);
    child.args(&command[1..]).current_dir("/").env_clear();
    child.env("PATH", env::join_paths(&directories).unwrap_or_default());
    child.envs(VARIABLES.iter().filter_map(|name| Some((name, env::var_os(name)?))));
    child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    child::without_terminal(&mut child);
    let mut child = child.spawn().map_err(|error| failed(error.to_string()))?;
    let read = output(&mut child, Instant::now() + COMMAND_TIMEOUT);
    // Whatever it started ends with it.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    let text = read.map_err(|error| failed(error.to_string()))?;
    if !status.success() && status.code().is_some() {
        return Err(failed(format!("{status}")));
    }
    token(&text).map_err(|cause| failed(format!("what it printed cannot be used: {cause}")))
}

/// Reads all that the program prints, until it closes its output.
fn output(child: &mut Child, deadline: Instant) -> io::Result<Zeroizing<String>> {
    let Some(mut stdout) = child.stdout.take() else { return Err(io::Error::other("it has no output")) };
    // Its whole capacity at once: what is moved on growth would not be wiped.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(0), tv_nsec: left.subsec_nanos().into() };
        let mut fds = [PollFd::new(&stdout, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return Err(io::Error::other("it took longer than 30 seconds")),
            Err(rustix::io::Errno::INTR) if signals::asked().is_none() => continue,
            Err(rustix::io::Errno::INTR) => return Err(io::Error::other("it was called off")),
            ready => drop(ready?),
        }
        let room = MAX_BYTES + 1 - text.len();
        if room == 0 {
            return Err(io::Error::other("it printed more than 64 KiB"));
        }
        if (&mut stdout).take(room.min(4096) as u64).read_to_end(&mut text)? == 0 {
            break;
        }
    }
    let bytes = std::mem::take(&mut *text);
    String::from_utf8(bytes).map(Zeroizing::new).map_err(|_| io::Error::other("it printed what is no text"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Place {
        root: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { root: tempfile::tempdir().unwrap() }
        }

        fn script(&self, text: &str) -> String {
            let path = self.root.path().join("tool");
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path.display().to_string()
        }

        fn run(&self, text: &str) -> std::result::Result<String, String> {
            let command = vec![self.script(text)];
            fetch(&TokenSource::Command(command), Path::new("/workspace"))
                .map(|token| token.to_string())
                .map_err(|error| error.cause.to_string())
        }
    }

    // covers: W27
    #[test]
    fn a_program_prints_a_token_without_a_terminal_an_input_or_the_operators_variables() {
        let place = Place::new();
        assert_eq!(place.run("echo secret"), Ok("secret".into()));
        assert_eq!(place.run("echo '{\"token\": \"secret\", \"expires_at\": \"2030-01-01T00:00:00Z\"}'"), Ok("secret".into()));
        assert_eq!(place.run("pwd; exit 0"), Ok("/".into()));
        assert_eq!(place.run("cat; echo end"), Ok("end".into()));
        assert_eq!(place.run("(: </dev/tty) 2>/dev/null && echo terminal || echo none"), Ok("none".into()));
        assert_eq!(place.run("env | grep -c CARGO; true"), Ok("0".into()));
        assert_eq!(place.run("echo half; exit 3"), Err("exit status: 3".into()));
        assert_eq!(place.run(":"), Err("what it printed cannot be used: it is empty".into()));
        assert_eq!(place.run("echo '{}'"), Err("what it printed cannot be used: its JSON has no `token`".into()));
        assert_eq!(place.run("yes | head -c 70000"), Err("it printed more than 64 KiB".into()));
    }

    // covers: W27
    #[test]
    fn a_program_that_others_could_have_written_is_not_run() {
        let place = Place::new();
        let script = place.script("echo secret");
        let run = |workspace: &Path| fetch(&TokenSource::Command(vec![script.clone()]), workspace).is_ok();
        assert!(run(Path::new("/workspace")));
        assert!(!run(&place.root.path().canonicalize().unwrap()));
        fs::set_permissions(&script, fs::Permissions::from_mode(0o757)).unwrap();
        assert!(!run(Path::new("/workspace")));
    }

    // covers: W27
    #[test]
    fn a_login_is_used_until_it_ends_and_its_file_stays_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("credentials.json");
        let login = |text: &str| {
            fs::write(&file, text).unwrap();
            let login = Login {
                provider: "claude".into(),
                file: file.clone(),
                token: "/o/t".into(),
                expires: Some("/o/e".into()),
                renew: Some("start it once".into()),
            };
            fetch(&TokenSource::Login(login), Path::new("/")).map(|token| token.to_string()).map_err(|error| (error.cause, error.hint))
        };
        let later = (SystemTime::now() + Duration::from_secs(600)).duration_since(UNIX_EPOCH).unwrap().as_millis();
        assert_eq!(login(&format!("{{\"o\": {{\"t\": \"secret\", \"e\": {later}}}}}")), Ok("secret".into()));
        assert_eq!(login("{\"o\": {\"t\": \"secret\"}}"), Ok("secret".into()));
        let (cause, hint) = login("{\"o\": {\"t\": \"secret\", \"e\": 1700000000000}}").unwrap_err();
        assert!(cause.starts_with("it ended ") && hint == "start it once", "{cause}");
        assert!(login("{}").unwrap_err().0.ends_with("has no /o/t"));
        assert!(login("secret").unwrap_err().0.ends_with("is not JSON"));
    }
}
