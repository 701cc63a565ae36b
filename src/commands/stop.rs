//! `bottle stop`: asks the supervisor of a bottle to stop it, and waits until nothing of it is left.

use std::io::Write;
use std::time::{Duration, Instant};

use clap_complete::ArgValueCandidates;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{completions, named};
use crate::error::{Error, Result};
use crate::store::{Entry, Layout, Phase, Status, start_time};

/// Longer than the grace of agent and sidecars together.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// An interrupt shortens each stage of the teardown: agent, namespace, sidecars. It is repeated, because a delayed supervisor sees several
/// as one (signal(7): standard signals do not queue).
const KILL_INTERVAL: Duration = Duration::from_millis(200);

/// For the kernel to kill the processes that die with a supervisor.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two checks: the process is not our child, and a lock does not report when it is free.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Stop a bottle, and wait until nothing of it is left
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Bottle: `bottle list` shows them
    #[arg(add = ArgValueCandidates::new(completions::ids))]
    pub id: String,
    /// Stop it at once, without waiting for the agent
    #[arg(long)]
    pub now: bool,
}

/// Stops the bottle. A stopped bottle is success.
pub fn run(args: &Args, layout: &Layout, out: &mut dyn Write) -> Result<u8> {
    let entry = named(layout, &args.id)?;
    if entry.status != Status::Running {
        return finish(&args.id, &entry, out);
    }
    let supervisor = entry.metadata.as_ref().map(|m| m.supervisor).ok_or_else(|| {
        Error::failed(format!("bottle `{}` cannot be stopped", args.id), "its metadata is unreadable", "kill its `bottle start` by hand")
    })?;
    if entry.metadata.as_ref().is_some_and(|m| m.phase == Phase::Stopping) && !args.now {
        writeln!(out, "{} is stopping already", args.id).map_err(super::cannot_write)?;
    }
    // Its supervisor has exited: check again for leftovers.
    let gone = |out: &mut dyn Write| finish(&args.id, &settled(layout, &args.id)?, out);
    let Some(pid) = i32::try_from(supervisor.pid).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw) else {
        return Err(Error::failed(
            format!("bottle `{}` cannot be stopped", args.id),
            "no process is recorded",
            "kill its `bottle start` by hand",
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
        Err(rustix::io::Errno::SRCH) => return gone(out),
        Err(e) => return Err(cannot(e)),
    };
    // The descriptor refers to the current owner of the pid, and is checked afterwards.
    if start_time(supervisor.pid) != Some(supervisor.start_time) {
        return gone(out);
    }
    let deadline = Instant::now() + STOP_TIMEOUT;
    let (signal, interval) = if args.now { (Signal::INT, Some(KILL_INTERVAL)) } else { (Signal::TERM, None) };
    let mut ended = false;
    while !ended && Instant::now() < deadline {
        match pidfd_send_signal(&pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(cannot(e)),
        }
        // A suspended supervisor must continue in order to exit.
        let _ = pidfd_send_signal(&pidfd, Signal::CONT);
        let left = deadline.saturating_duration_since(Instant::now());
        ended = wait(&pidfd, interval.unwrap_or(left).min(left));
    }
    if ended {
        gone(out)
    } else {
        Err(Error::failed(
            format!("bottle `{}` has not stopped yet", args.id),
            format!("{STOP_TIMEOUT:?} have passed"),
            "`bottle stop --now` does not wait for the agent",
        ))
    }
}

/// The bottle, once its lock is free or only other processes hold it: its children exit a moment after the supervisor.
fn settled(layout: &Layout, id: &str) -> Result<Entry> {
    let deadline = Instant::now() + EXIT_TIMEOUT;
    loop {
        let entry = named(layout, id)?;
        let settles = entry.status == Status::Running || !entry.remains().is_empty();
        if !settles || Instant::now() > deadline {
            return Ok(entry);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Kills the processes that a supervisor left, and waits for them.
fn finish(id: &str, entry: &Entry, out: &mut dyn Write) -> Result<u8> {
    if entry.status == Status::Running {
        let cause = "a process that is not visible from here holds its lock";
        return Err(Error::failed(format!("bottle `{id}` has not stopped"), cause, "run this as the user who started it, on that machine"));
    }
    entry.end_remains()?;
    writeln!(out, "{id} has stopped").map_err(super::cannot_write)?;
    Ok(0)
}

/// True if the process exits in time.
fn wait(pidfd: &std::os::fd::OwnedFd, time: Duration) -> bool {
    let Ok(time) = Timespec::try_from(time) else { return false };
    matches!(poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&time)), Ok(1..))
}
