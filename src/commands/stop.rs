//! `bottle stop`: asks the supervisor of a bottle to end it, and waits until nothing of it is left.

use std::io::Write;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::named;
use crate::error::{Error, Result};
use crate::store::{Layout, Phase, Status, start_time};

/// Longer than an agent's grace and the sidecars' together.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// An interrupt hurries each stage of the end: the agent, its namespace, the sidecars. It is repeated until all is over, since a
/// supervisor that is kept from running takes several as one (signal(7): standard signals do not queue).
const KILL_INTERVAL: Duration = Duration::from_millis(200);

/// End a bottle, and wait until nothing of it is left
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The bottle: `bottle list` shows them
    pub id: String,
    /// End it at once, without waiting for the agent
    #[arg(long)]
    pub now: bool,
}

/// Ends the bottle. One that has ended already is success.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let entry = named(layout, &args.id)?;
    if entry.status != Status::Running {
        writeln!(out, "{} has ended", args.id).map_err(super::cannot_write)?;
        return Ok(0);
    }
    let supervisor = entry.metadata.as_ref().map(|m| m.supervisor).ok_or_else(|| {
        Error::failed(format!("bottle `{}` cannot be stopped", args.id), "its metadata is unreadable", "end its `bottle start` by hand")
    })?;
    if entry.metadata.as_ref().is_some_and(|m| m.phase == Phase::Stopping) && !args.now {
        writeln!(out, "{} is ending already", args.id).map_err(super::cannot_write)?;
    }
    let mut gone = || writeln!(out, "{} has ended", args.id).map_err(super::cannot_write);
    let Some(pid) = i32::try_from(supervisor.pid).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw) else {
        return Err(Error::failed(
            format!("bottle `{}` cannot be stopped", args.id),
            "no process is recorded",
            "end its `bottle start` by hand",
        ));
    };
    let cannot = |e: rustix::io::Errno| {
        Error::failed(
            format!("bottle `{}` cannot be stopped", args.id),
            format!("signal process {pid:?}: {e}"),
            "run this as the user who started it",
        )
    };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return gone().map(|()| 0),
        Err(e) => return Err(cannot(e)),
    };
    // The descriptor names whoever has the number now; only then is it looked at.
    if start_time(supervisor.pid) != Some(supervisor.start_time) {
        return gone().map(|()| 0);
    }
    let deadline = Instant::now() + STOP_TIMEOUT;
    let (signal, again) = if args.now { (Signal::INT, Some(KILL_INTERVAL)) } else { (Signal::TERM, None) };
    let mut ended = false;
    while !ended && Instant::now() < deadline {
        match pidfd_send_signal(&pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(cannot(e)),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        ended = wait(&pidfd, again.unwrap_or(left).min(left));
    }
    if ended {
        gone().map(|()| 0)
    } else {
        Err(Error::failed(
            format!("bottle `{}` has not ended yet", args.id),
            format!("{STOP_TIMEOUT:?} have passed"),
            "`bottle stop --now` does not wait for the agent",
        ))
    }
}

/// True when the process has ended in time.
fn wait(pidfd: &std::os::fd::OwnedFd, time: Duration) -> bool {
    let Ok(time) = Timespec::try_from(time) else { return false };
    matches!(poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&time)), Ok(1..))
}
