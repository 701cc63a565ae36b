//! The far end of the demonstration: a program beside the sidecars, as a child that lives no longer than it is needed.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use bottle_contract::demo::{Ready, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::backend::sidecar_programs;
use crate::error::{Error, Result};

/// As a sidecar's name: the program is `bottle-demo-origin`.
const PROGRAM: &str = "demo-origin";
/// How long it may take until it serves.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// It says less, unless something is very wrong.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;

/// The running origin; killed with this value.
pub(super) struct Origin {
    child: Child,
    output: BufReader<ChildStdout>,
    pub(super) ready: Ready,
}

impl Origin {
    /// Starts it, and waits until it serves.
    pub(super) fn start() -> Result<Self> {
        let path = sidecar_programs::path(PROGRAM)?;
        // It ends when its standard input closes, as it does if this process is killed. A key of the terminal that is meant for the bottle
        // does not reach it.
        let mut child = Command::new(&path)
            .env_clear()
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| failed(&format_args!("{}: {e}", path.display())))?;
        let ready = child.stdout.take().ok_or_else(|| "it has no output".to_owned()).and_then(first);
        match ready {
            Ok((output, ready)) => Ok(Self { child, output, ready }),
            Err(why) => {
                end(&mut child);
                Err(failed(&why))
            }
        }
    }

    /// Ends it, and returns what has arrived. It says what arrives before it answers, so that nothing is missing.
    pub(super) fn end(mut self) -> Result<Vec<Request>> {
        end(&mut self.child);
        let mut text = String::new();
        let odd =
            |e: &dyn std::fmt::Display| Error::failed("the demonstration's origin cannot be understood", e, "install all of bottle anew");
        self.output.by_ref().take(MAX_OUTPUT_BYTES).read_to_string(&mut text).map_err(|e| odd(&e))?;
        text.lines().map(|line| serde_json::from_str(line).map_err(|e| odd(&e))).collect()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends it and reaps it; one that has ended already stays as it is.
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
        return Err(format!("it says nothing for {} seconds", START_TIMEOUT.as_secs()));
    }
    let mut output = BufReader::new(output);
    let mut line = String::new();
    output.by_ref().take(MAX_OUTPUT_BYTES).read_line(&mut line).map_err(|e| e.to_string())?;
    if line.is_empty() {
        return Err("it ended at once".to_owned());
    }
    let ready = serde_json::from_str(&line).map_err(|e| e.to_string())?;
    Ok((output, ready))
}

fn failed(cause: &dyn std::fmt::Display) -> Error {
    Error::failed(
        "the demonstration's origin did not start",
        cause,
        "run `bottle-demo-origin` by itself to see why; `make install` installs it",
    )
}
