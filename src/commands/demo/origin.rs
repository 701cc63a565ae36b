//! The demonstration's origin: a program next to the sidecars, run as a child process.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use bottle_contract::demo::{Ready, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::backend::sidecar_programs;
use crate::error::{Error, Result, Source};

/// Its name as of a sidecar: the program is `bottle-demo-origin`.
const PROGRAM: &str = "demo-origin";
/// Until it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// A longer output is an error.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;

/// The running origin; killed with this value.
pub(super) struct Origin {
    child: Child,
    output: BufReader<ChildStdout>,
    pub(super) ready: Ready,
}

impl Origin {
    /// Starts it, and waits until it is ready.
    pub(super) fn start() -> Result<Self> {
        let path = sidecar_programs::path(PROGRAM)?;
        // It exits when its standard input closes, also if this process is killed. Keys at the terminal do not reach it.
        let mut child = Command::new(&path)
            .env_clear()
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| failed(format!("{}: {e}", path.display()).into()))?;
        let ready = child.stdout.take().ok_or_else(|| "it has no output".to_owned()).and_then(first);
        match ready {
            Ok((output, ready)) => Ok(Self { child, output, ready }),
            Err(why) => {
                end(&mut child);
                Err(failed(why.into()))
            }
        }
    }

    /// Stops it, and returns the requests. It reports each before it responds, so none is missing.
    pub(super) fn end(mut self) -> Result<Vec<Request>> {
        end(&mut self.child);
        let mut text = String::new();
        let odd = |e: Source| Error::failed("the output of the demonstration's origin is invalid", e, "reinstall bottle");
        self.output.by_ref().take(MAX_OUTPUT_BYTES).read_to_string(&mut text).map_err(|e| odd(e.into()))?;
        text.lines().map(|line| serde_json::from_str(line).map_err(|e| odd(e.into()))).collect()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Kills and reaps it, unless it has exited.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Its first line.
fn first(output: ChildStdout) -> Result<(BufReader<ChildStdout>, Ready), String> {
    let deadline = Timespec::try_from(START_TIMEOUT).map_err(|e| e.to_string())?;
    let came = loop {
        match poll(&mut [PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)], Some(&deadline)) {
            Err(rustix::io::Errno::INTR) => {}
            came => break came.map_err(|e| e.to_string())?,
        }
    };
    if came == 0 {
        return Err(format!("it is silent for {} seconds", START_TIMEOUT.as_secs()));
    }
    let mut output = BufReader::new(output);
    let mut line = String::new();
    output.by_ref().take(MAX_OUTPUT_BYTES).read_line(&mut line).map_err(|e| e.to_string())?;
    if line.is_empty() {
        return Err("it exited at once".to_owned());
    }
    let ready = serde_json::from_str(&line).map_err(|e| e.to_string())?;
    Ok((output, ready))
}

fn failed(cause: Source) -> Error {
    Error::failed(
        "the demonstration's origin did not start",
        cause,
        "run `bottle-demo-origin` by itself to see why; `make install` installs it",
    )
}
