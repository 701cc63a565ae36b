//! A command of the engine's, with a deadline: a daemon that hangs is not waited for.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// What an engine's client needs of the operator's environment. Tokens lie there, too, and are none of its business.
const PASSED: [&str; 13] = [
    "PATH",
    "HOME",
    "DOCKER_HOST",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "DOCKER_API_VERSION",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "TMPDIR",
    "LANG",
    "SSL_CERT_FILE",
];

/// A command that runs. Dropped, it and all that it started are ended.
#[derive(Debug)]
pub struct Running {
    child: Child,
    pidfd: OwnedFd,
    stdout: File,
    stderr: File,
    line: String,
}

/// How a command ended.
#[derive(Debug)]
pub struct Finished {
    /// Its status.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    line: String,
}

/// Starts a command. Output and errors go to memory, so that it never waits for us.
pub fn start<A: AsRef<OsStr>>(program: &OsStr, arguments: &[A], host: Option<&str>) -> io::Result<Running> {
    let memory = || memfd_create("output", MemfdFlags::CLOEXEC).map(File::from).map_err(io::Error::from);
    start_into(program, arguments, host, memory()?, memory()?)
}

/// The same, with files for output and errors.
pub fn start_into<A: AsRef<OsStr>>(
    program: &OsStr,
    arguments: &[A],
    host: Option<&str>,
    stdout: File,
    stderr: File,
) -> io::Result<Running> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().current_dir("/");
    command.envs(PASSED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    if let Some(host) = host {
        command.env("DOCKER_HOST", host);
    }
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    // Keys typed at the operator's terminal are for bottle alone.
    command.process_group(0);
    crate::sys::child::dies_with_us(&mut command);
    let child = command.spawn()?;
    let pid = Pid::from_child(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let name = std::path::Path::new(program).file_name().unwrap_or(program).to_owned();
    let words: Vec<OsString> = std::iter::once(name).chain(arguments.iter().map(|a| a.as_ref().to_owned())).take(4).collect();
    let line = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    Ok(Running { child, pidfd, stdout, stderr, line })
}

impl Running {
    /// Readable at its end.
    pub fn end(&self) -> io::Result<OwnedFd> {
        self.pidfd.try_clone()
    }

    /// What it is, for a message.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Waits for its end; a command that takes longer is ended, and that is an error.
    pub fn finish(mut self, patience: Duration) -> io::Result<Finished> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&self.pidfd.as_fd(), PollFlags::IN)], Some(&timeout)) {
                Ok(0) => {
                    let cause = format!("`{}` did not answer within {} seconds", self.line, patience.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, cause));
                }
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        let status = self.child.wait()?;
        let text = |file: &mut File| -> io::Result<String> {
            let mut bytes = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let (stdout, stderr) = (text(&mut self.stdout)?, text(&mut self.stderr)?);
        Ok(Finished { status, stdout, stderr, line: std::mem::take(&mut self.line) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Its own group: a client starts plugins.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

impl Finished {
    /// What it printed, if it succeeded; otherwise why not, in its own words.
    pub fn output(self) -> io::Result<String> {
        if self.status.success() { Ok(self.stdout) } else { Err(io::Error::other(self.cause())) }
    }

    /// The last line that it complained with.
    pub fn cause(&self) -> String {
        let last = self.stderr.lines().map(str::trim).rfind(|line| !line.is_empty());
        let how = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no code".to_owned(),
        };
        let words = last.map_or_else(|| "without a word".to_owned(), |line| bottle_contract::Untrusted::new(line).to_string());
        format!("`{}` ended with {how}: {words}", self.line)
    }
}
